// The official Node client as a program: one JSON request per line in, one JSON outcome per line out.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import OpenAI from 'openai';

const resources = (client) => ({ chat: client.chat.completions, completions: client.completions, embeddings: client.embeddings });

const describe = (error) => ({
  class: error.constructor.name,
  status: error.status ?? null,
  message: error.message,
  type: error.type ?? null,
  param: error.param ?? null,
  code: error.code ?? null,
  body: error.error ?? null,
  headers: Object.fromEntries(error.headers?.entries?.() ?? []),
});

const body = (asked) => ({ ...asked.params, ...(asked.extra ?? {}) });
const options = (asked) => ({ headers: asked.headers ?? {} });

const acts = {
  async do(client, asked, outcome) {
    const [noun, method] = asked.verb.split('.');
    const verb = noun === 'files' && method === 'delete' && !client.files.delete ? 'del' : method;
    const params = { ...(asked.params ?? {}) };
    if (params.file) params.file = await OpenAI.toFile(Buffer.from(params.file[1]), params.file[0]);
    const found = client[noun][verb](...(asked.id ? [asked.id] : []), ...(Object.keys(params).length ? [params] : []));
    if (verb === 'list') {
      outcome.value = [];
      for await (const item of found) outcome.value.push(item);
    } else outcome.value = verb === 'content' ? await (await found).text() : await found;
  },
  async create(client, asked, outcome) {
    const { data, response } = await resources(client)[asked.path].create(body(asked), options(asked)).withResponse();
    outcome.headers = Object.fromEntries(response.headers.entries());
    outcome.value = data;
  },
  async stream(client, asked, outcome) {
    const promise = resources(client)[asked.path].create({ ...body(asked), stream: true }, options(asked));
    const { data, response } = await promise.withResponse();
    outcome.headers = Object.fromEntries(response.headers.entries());
    for await (const chunk of data) {
      outcome.chunks.push(chunk);
      if (outcome.chunks.length === asked.take) break;
    }
  },
  async naive(client, asked, outcome) {
    let text = '';
    for await (const chunk of await resources(client)[asked.path].create({ ...body(asked), stream: true }, options(asked))) {
      text += chunk.choices[0].delta.content ?? '';
    }
    outcome.value = text;
  },
  async accumulate(client, asked, outcome) {
    outcome.value = await client.chat.completions.stream(body(asked), options(asked)).finalChatCompletion();
  },
  async models(client, asked, outcome) {
    outcome.value = [];
    for await (const model of client.models.list()) outcome.value.push(model);
  },
  async model(client, asked, outcome) {
    outcome.value = await client.models.retrieve(asked.model);
  },
};

async function answer(asked) {
  const outcome = { value: null, chunks: [], headers: {}, error: null };
  const client = new OpenAI({ baseURL: process.argv[2], apiKey: asked.key ?? 'none', maxRetries: asked.retries ?? 0, timeout: 60_000 });
  try {
    await acts[asked.op](client, asked, outcome);
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    outcome.error = describe(error);
  }
  return outcome;
}

const { version } = JSON.parse(readFileSync(new URL('node_modules/openai/package.json', import.meta.url)));
console.log(JSON.stringify({ version }));
for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(await answer(JSON.parse(line))));
