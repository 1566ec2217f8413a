// What npm's openai gets from a server: URL, key and the folder of the package are the arguments.
// Run by tests/test_server_foreign_clients.py.

const { createRequire } = require("node:module");
const [url, key, folder] = process.argv.slice(2);
const { OpenAI } = createRequire(folder + "/")("openai");

const greedy = { model: "embedded", temperature: 0, max_tokens: 12 };
const messages = [{ role: "system", content: "A talk." }, { role: "user", content: "The sea is" }];

async function collect(events) {
  const found = [];
  for await (const event of await events) found.push(event);
  return found;
}

async function main() {
  const client = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
  const whole = await client.completions.create({ prompt: "The sea is", ...greedy });
  const several = await client.completions.create({ prompt: ["The sea is", "It was"], n: 2, ...greedy });
  const stream = await collect(client.completions.create({ prompt: "The sea is", stream: true, ...greedy }));
  const chat = await client.chat.completions.create({ messages, logprobs: true, top_logprobs: 3, ...greedy });
  const options = { stream: true, stream_options: { include_usage: true } };
  const chatStream = await collect(client.chat.completions.create({ messages, ...options, ...greedy }));
  const refusal = await client.chat.completions
    .create({ messages, response_format: { type: "json_object" }, ...greedy })
    .then(() => "", (error) => error.param);
  const models = await collect(client.models.list());
  console.log(JSON.stringify({
    completion: whole.choices[0].text,
    stream: stream.map((event) => event.choices[0].text),
    several: several.choices.map((choice) => [choice.index, choice.text]),
    chat: chat.choices[0].message.content,
    chat_finish: chat.choices[0].finish_reason,
    chat_tokens: chat.choices[0].logprobs.content.map((entry) => entry.token),
    chat_tops: chat.choices[0].logprobs.content.map((entry) => entry.top_logprobs.length),
    chat_stream: chatStream.filter((event) => event.choices.length).map((event) => event.choices[0].delta.content || ""),
    chat_role: chatStream[0].choices[0].delta.role,
    usage: chatStream.at(-1).usage.completion_tokens,
    models: models.map((model) => model.id),
    model: (await client.models.retrieve("embedded")).id,
    refusal,
  }));

  const events = await client.chat.completions.create({ messages, ...greedy, max_tokens: 4000, stream: true });
  let count = 0;
  for await (const _ of events) if (++count === 4) events.controller.abort();
  console.log("aborted");
  for await (const _ of process.stdin) continue;
}

main().catch((error) => { console.error(error); process.exit(1); });
