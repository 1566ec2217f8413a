"""Converts Slack's markup to plain text: mentions, links and emoji names. Pure.

By Slack's "Formatting text for app surfaces": `<@U1>`, `<#C1|general>`, `<!here>`, `<https://x|label>`, and three
escaped characters as in HTML. Marks of bold and italic stay, since people type them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_REFERENCE = re.compile(r"<([^<>\n]+)>")
_EMOJI_NAME = re.compile(r"(?<![0-9A-Za-z]):([a-z0-9_+'-]+):(?::skin-tone-([2-6]):)?")
_FLAG_NAME = re.compile(r"flag-([a-z]{2})")
_EMOJI_RANGES = ((0x231A, 0x231B), (0x23E9, 0x23FA), (0x2600, 0x27BF), (0x2B05, 0x2B55), (0x1F300, 0x1FAFF))
_SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_EMOJI_SELECTOR = "\ufe0f"  # VARIATION SELECTOR-16: show the character as an emoji

# The most frequent emoji whose names in Slack and Unicode differ.
_EMOJI_LIST = """
    smile 😄 smiley 😃 grinning 😀 grin 😁 laughing 😆 satisfied 😆 sweat_smile 😅 joy 😂 rofl 🤣 wink 😉 blush 😊
    slightly_smiling_face 🙂 simple_smile 🙂 upside_down_face 🙃 heart_eyes 😍 kissing_heart 😘 yum 😋
    stuck_out_tongue 😛 stuck_out_tongue_winking_eye 😜 sunglasses 😎 star-struck 🤩 smirk 😏 unamused 😒
    disappointed 😞 worried 😟 confused 😕 cry 😢 sob 😭 angry 😠 rage 😡 scream 😱 flushed 😳 sweat 😓 sleeping 😴
    no_mouth 😶 open_mouth 😮 astonished 😲 relieved 😌 pensive 😔 weary 😩 tired_face 😫 grimacing 😬
    slightly_frowning_face 🙁 white_frowning_face ☹️ face_with_rolling_eyes 🙄 hugging_face 🤗 thinking_face 🤔
    zipper_mouth_face 🤐 nerd_face 🤓 facepalm 🤦 face_palm 🤦 shrug 🤷 exploding_head 🤯 partying_face 🥳
    pleading_face 🥺 innocent 😇 smiling_imp 😈 skull 💀 poop 💩 hankey 💩 ghost 👻
    see_no_evil 🙈 hear_no_evil 🙉 speak_no_evil 🙊
    heart ❤️ hearts ♥️ broken_heart 💔 two_hearts 💕 100 💯 boom 💥 zzz 💤 dash 💨 speech_balloon 💬
    +1 👍 thumbsup 👍 -1 👎 thumbsdown 👎 ok_hand 👌 clap 👏 wave 👋 raised_hands 🙌 pray 🙏 muscle 💪 fist ✊
    punch 👊 facepunch 👊 v ✌️ point_up ☝️ point_up_2 👆 point_down 👇 point_left 👈 point_right 👉 crossed_fingers 🤞
    the_horns 🤘 i_love_you_hand_sign 🤟 call_me_hand 🤙 eyes 👀 tada 🎉 confetti_ball 🎊 gift 🎁 birthday 🎂 cake 🍰
    beer 🍺 beers 🍻 coffee ☕ pizza 🍕 fire 🔥 star ⭐ star2 🌟 sparkles ✨ zap ⚡ sunny ☀️ rainbow 🌈 rocket 🚀
    white_check_mark ✅ heavy_check_mark ✔️ x ❌ warning ⚠️ no_entry ⛔ question ❓ exclamation ❗ bulb 💡 memo 📝
    calendar 📆 date 📅 phone ☎️ email ✉️ computer 💻 lock 🔒 key 🔑 link 🔗 hammer 🔨 wrench 🔧 bug 🐛 mag 🔍
    dog 🐶 cat 🐱 mouse 🐭 rabbit 🐰 bear 🐻 monkey 🐒 snake 🐍 unicorn_face 🦄 turtle 🐢 whale 🐳 penguin 🐧
    sun_with_face 🌞 snowman ⛄ umbrella ☔ bell 🔔 trophy 🏆 soccer ⚽ checkered_flag 🏁 house 🏠 car 🚗 train 🚋
    arrow_up ⬆️ arrow_down ⬇️ arrow_left ⬅️ arrow_right ➡️ red_circle 🔴 robot_face 🤖 man 👨 woman 👩 baby 👶
"""
_EMOJI_WORDS = _EMOJI_LIST.split()
EMOJI = dict(zip(_EMOJI_WORDS[::2], _EMOJI_WORDS[1::2], strict=True))


def to_plain_text(text: str, people: Mapping[str, str], channels: Mapping[str, str]) -> str:
    """Returns the plain text; names are looked up by their ids."""
    parts = _REFERENCE.split(text)  # every second part was between < and >
    parts[::2] = [_EMOJI_NAME.sub(_replace_emoji, _unescape(part)) for part in parts[::2]]
    parts[1::2] = [_unescape(_expand_reference(part, people, channels)) for part in parts[1::2]]
    return "".join(parts)


def _expand_reference(reference: str, people: Mapping[str, str], channels: Mapping[str, str]) -> str:
    target, _, label = reference.partition("|")
    mark, number = target[0], target[1:]
    if mark == "@":
        return f"@{people.get(number) or label or number}"
    if mark == "#":
        return f"#{label or channels.get(number) or number}"
    if mark == "!" and number.startswith("date^"):
        return label
    if mark == "!":
        return f"@{(label or number.removeprefix('subteam^')).removeprefix('@')}"
    return label or target.removeprefix("mailto:").removeprefix("tel:")


def _unescape(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _replace_emoji(match: re.Match[str]) -> str:
    name, tone = match[1], match[2]
    emoji = EMOJI.get(name) or _flag_emoji(name) or _unicode_emoji(name)
    if not emoji:
        return match[0]
    return emoji.removesuffix(_EMOJI_SELECTOR) + _SKIN_TONES[int(tone) - 2] if tone else emoji


def _flag_emoji(name: str) -> str:
    """Returns the flag of an ISO 3166 code, as two regional indicators."""
    flag = _FLAG_NAME.fullmatch(name)
    return "".join(chr(0x1F1E6 + ord(letter) - ord("a")) for letter in flag[1]) if flag else ""


def _unicode_emoji(name: str) -> str:
    """Returns the emoji with this Unicode name; Slack often omits FACE or SYMBOL."""
    words = name.replace("_", " ").replace("-", " ")
    for unicode_name in (words, f"{words} face", f"{words} symbol", f"{words} sign"):
        try:
            char = unicodedata.lookup(unicode_name)
        except KeyError:
            continue
        if len(char) == 1 and any(first <= ord(char) <= last for first, last in _EMOJI_RANGES):
            return char
    return ""
