"""What langchain-openai gets from a server: URL and key are the arguments. For test_server_foreign_clients.py."""

import json
import sys

from langchain_openai import ChatOpenAI, OpenAI

URL, KEY = sys.argv[1:]
SERVER = {"base_url": f"{URL}/v1", "api_key": KEY, "model": "embedded", "temperature": 0, "max_retries": 0}
MESSAGES = [("system", "A talk."), ("human", "The sea is")]

text_model, chat_model = OpenAI(max_tokens=12, **SERVER), ChatOpenAI(max_tokens=12, **SERVER)
several = text_model.generate(["The sea is", "It was", "The sea is"])
answer = chat_model.invoke(MESSAGES)
found = {
    "completion": text_model.invoke("The sea is"),
    "stream": list(text_model.stream("The sea is")),
    "several": [[index, texts[0].text] for index, texts in enumerate(several.generations)],
    "chat": answer.content,
    "chat_finish": answer.response_metadata["finish_reason"],
    "chat_stream": [event.content for event in chat_model.stream(MESSAGES)],
    "usage": answer.usage_metadata["output_tokens"],
    "models": [model.id for model in chat_model.root_client.models.list()],
}
sys.stdout.write(json.dumps(found) + "\n")
sys.stdout.flush()

events = ChatOpenAI(max_tokens=4000, **SERVER).stream(MESSAGES)
for count, _ in enumerate(events):
    if count == 3:
        break
events.close()
sys.stdout.write("aborted\n")
sys.stdout.flush()
sys.stdin.read()
