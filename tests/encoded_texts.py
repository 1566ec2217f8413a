"""Invented prose in several languages, for tests of encodings: (language, encodings that can hold it, text)."""

from __future__ import annotations

import unicodedata

WESTERN = ("cp1252", "mac_roman", "cp850", "cp437")
CENTRAL = ("cp1250", "iso8859_2", "cp852", "mac_latin2")

FRENCH = """La pompe était arrêtée depuis lundi. Le mécanicien a dit : « Ça ira mieux demain, peut-être. » Nous avons
ramé jusqu’à la côte, où le café était fermé ; l’été finissait déjà. Le maître d’école, naïf, s’était noyé là-bas,
disait-on. À midi, on entendit enfin le moteur. Élise éclata de rire et prépara le thé."""
GERMAN = """Die Pumpe läuft seit Montag nicht mehr. „Für heute genügt es“, sagte der Maschinist und schloß die Tür.
Über dem Fluß hingen graue Wolken, die Möwen schrien. Später aßen wir Äpfel und tranken süßen Tee; danach ruderten
wir müde nach Hause. Öl war keines mehr übrig – wir hörten nur das Plätschern."""
SPANISH = """La bomba está rota desde el lunes. —¿Mañana funcionará? —preguntó el niño. «Quizás», contestó el mecánico
después de pensarlo. El año pasado también falló, y nadie sabía por qué. ¡Qué lástima! Óscar remó más rápido que
ningún otro, y comió una piña con azúcar."""
SWEDISH = """Pumpen står stilla sedan måndag. Å andra sidan är båten hel, så vi rodde över sjön för att köpa bröd.
”Det här går nog bra”, sade hon på kvällen. Ön låg öde, men ängen var grön. Ära den som äras bör."""
DANISH = """Pumpen står stille siden mandag, og båden ligger på øen. »Vi ror over søen,« sagde hun, »når æblerne er
spist.« Ærlig talt var det nødvendigt. Åen løb langsomt gennem ågerne."""
PORTUGUESE = """A bomba não funciona desde segunda-feira. “Amanhã será melhor”, disse o mecânico, que é irmão da
avó. Então remámos até à praia, comemos pão e maçãs, e ninguém falou mais. As estações não param, você vê."""
ITALIAN = """La pompa è ferma da lunedì. «Perché non si può riparare?» chiese la zia. Così remammo fino a metà lago, più
lontano di chiunque, e lì c’era già il caffè. È tardi, però la città è bella."""
POLISH = """Pompa nie działa od poniedziałku. „Jutro będzie lepiej” – powiedział mechanik i zamknął drzwi na klucz.
Później wiosłowaliśmy przez jezioro, aż zrobiło się ciemno. Ktoś śpiewał cicho, ktoś gotował herbatę. Źródło było
zimne, a ścieżka wąska. Żółć, gęś i łódź."""
CZECH = """Čerpadlo od pondělí nefunguje. „Zítra to půjde lépe,“ řekl mechanik a zavřel dveře. Potom jsme veslovali
přes jezero, až se setmělo. Někdo tiše zpíval, někdo vařil čaj. Řeka byla studená a pěšina úzká. Šťastný den!"""
HUNGARIAN = """A szivattyú hétfő óta áll. „Holnap jobb lesz” – mondta a gépész, és becsukta az ajtót. Később átevezünk
a tavon, amíg be nem sötétedett. Valaki halkan énekelt, más teát főzött. Az út szűk volt és a víz hűvös."""
RUSSIAN = """Насос не работает с понедельника. «Завтра будет лучше», — сказал механик и закрыл дверь. Потом мы гребли
через озеро, пока не стемнело. Кто-то тихо пел, кто-то варил чай. Вода была холодная, а тропа узкая."""
GREEK = """Η αντλία δεν λειτουργεί από τη Δευτέρα. «Αύριο θα είναι καλύτερα», είπε ο μηχανικός και έκλεισε την πόρτα.
Ύστερα κωπηλατήσαμε στη λίμνη μέχρι που νύχτωσε. Κάποιος τραγουδούσε σιγά, άλλος έφτιαχνε τσάι."""
TURKISH = """Pompa pazartesiden beri çalışmıyor. “Yarın daha iyi olacak” dedi makinist ve kapıyı kapattı. Sonra gölde
kürek çektik, hava kararıncaya kadar. Birisi şarkı söylüyor, öteki çay yapıyordu. Işık azdı, yol dardı; İnci güldü."""
ENGLISH = """The pump has been stuck since Monday. “It’ll do for today,” said the engineer — he was naïve — and he
closed the café. We rowed home… It’s the third time. ‘Never again,’ said Zoë, and made the tea: £3 a pot."""

TEXTS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("French", WESTERN, FRENCH),
    ("German", WESTERN, GERMAN),
    ("Spanish", WESTERN, SPANISH),
    ("Swedish", WESTERN, SWEDISH),
    ("Danish", ("cp1252", "mac_roman", "cp850", "cp865"), DANISH),
    ("Portuguese", ("cp1252", "mac_roman", "cp850"), PORTUGUESE),
    ("Italian", WESTERN, ITALIAN),
    ("Polish", CENTRAL, POLISH),
    ("Czech", CENTRAL, CZECH),
    ("Hungarian", CENTRAL, HUNGARIAN),
    ("Russian", ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic"), RUSSIAN),
    ("Greek", ("cp1253", "iso8859_7", "cp737"), GREEK),
    ("Turkish", ("cp1254", "cp857", "mac_turkish"), TURKISH),
    ("English", ("cp1252", "mac_roman"), ENGLISH),
)
_PLAIN = str.maketrans("“”„‘’–—…«»", '"""\'\'--.""')


def encodable(text: str, encoding: str) -> str:
    """Returns the text with plain marks and capitals where the encoding has no others, as a typist would write it."""
    return "".join(c if _can_encode(c, encoding) else _plain(c) for c in text)


def _plain(character: str) -> str:
    return unicodedata.normalize("NFD", character.translate(_PLAIN))[0]


def _can_encode(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
