"""What the openai package gets from a server: URL and key are the arguments. For test_server_foreign_clients.py."""

import json
import sys

import openai

URL, KEY = sys.argv[1:]
GREEDY = {"model": "embedded", "temperature": 0, "max_tokens": 12}
MESSAGES = [{"role": "system", "content": "A talk."}, {"role": "user", "content": "The sea is"}]

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
whole = client.completions.create(prompt="The sea is", logprobs=2, **GREEDY)
several = client.completions.create(prompt=["The sea is", "It was"], n=2, **GREEDY)
stream = list(client.completions.create(prompt="The sea is", stream=True, **GREEDY))
chat = client.chat.completions.create(messages=MESSAGES, logprobs=True, top_logprobs=3, n=2, **GREEDY)
usage = {"include_usage": True}
chat_stream = list(client.chat.completions.create(messages=MESSAGES, stream=True, stream_options=usage, **GREEDY))
with client.chat.completions.stream(messages=MESSAGES, **GREEDY) as events:
    for _ in events:
        pass
    helper = events.current_completion_snapshot.choices[0].message.content
try:
    client.chat.completions.create(messages=MESSAGES, tools=[{"type": "function", "function": {"name": "f"}}], **GREEDY)
    refusal = ""
except openai.UnprocessableEntityError as error:
    refusal = str(error.param)

found = {
    "completion": whole.choices[0].text,
    "stream": [event.choices[0].text for event in stream],
    "several": [[choice.index, choice.text] for choice in several.choices],
    "top_logprobs": [len(tops) for tops in whole.choices[0].logprobs.top_logprobs],
    "chat": chat.choices[1].message.content,
    "chat_finish": chat.choices[0].finish_reason,
    "chat_tokens": [entry.token for entry in chat.choices[0].logprobs.content],
    "chat_tops": [len(entry.top_logprobs) for entry in chat.choices[0].logprobs.content],
    "chat_stream": [event.choices[0].delta.content or "" for event in chat_stream if event.choices],
    "chat_role": chat_stream[0].choices[0].delta.role,
    "usage": chat_stream[-1].usage.completion_tokens,
    "helper": helper,
    "models": [model.id for model in client.models.list()],
    "model": client.models.retrieve("embedded").id,
    "refusal": refusal,
}
sys.stdout.write(json.dumps(found) + "\n")
sys.stdout.flush()

endless = {**GREEDY, "max_tokens": 4000, "stream": True}
events = client.chat.completions.create(messages=MESSAGES, extra_body={"asr33": {"alphabet": "1963"}}, **endless)
for count, _ in enumerate(events):
    if count == 3:
        break
events.close()
sys.stdout.write("aborted\n")
sys.stdout.flush()
sys.stdin.read()
