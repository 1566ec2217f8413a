"""What litellm gets from a server: URL and key are the arguments. For test_server_foreign_clients.py."""

import json
import sys

import litellm

URL, KEY = sys.argv[1:]
SERVER = {"api_base": f"{URL}/v1", "api_key": KEY, "temperature": 0, "max_tokens": 12}
MESSAGES = [{"role": "system", "content": "A talk."}, {"role": "user", "content": "The sea is"}]

text_model, chat_model = "text-completion-openai/embedded", "openai/embedded"
whole = litellm.text_completion(model=text_model, prompt="The sea is", **SERVER)
stream = list(litellm.text_completion(model=text_model, prompt="The sea is", stream=True, **SERVER))
chat = litellm.completion(model=chat_model, messages=MESSAGES, **SERVER)
chat_stream = list(litellm.completion(model=chat_model, messages=MESSAGES, stream=True, **SERVER))
models = litellm.get_valid_models(
    check_provider_endpoint=True, custom_llm_provider="openai", api_base=f"{URL}/v1", api_key=KEY
)
found = {
    "completion": whole.choices[0].text,
    "stream": [event.choices[0].text or "" for event in stream if event.choices],
    "chat": chat.choices[0].message.content,
    "chat_finish": chat.choices[0].finish_reason,
    "chat_stream": [event.choices[0].delta.content or "" for event in chat_stream],
    "models": [name.removeprefix("openai/") for name in models],
}
sys.stdout.write(json.dumps(found) + "\n")
sys.stdout.flush()

events = litellm.completion(model=chat_model, messages=MESSAGES, stream=True, **{**SERVER, "max_tokens": 4000})
for count, _ in enumerate(events):
    if count == 3:
        break
events.completion_stream.close()
sys.stdout.write("aborted\n")
sys.stdout.flush()
sys.stdin.read()
