// Usage: node export.cjs MODULES URL COMPRESSION. Sends one trace of three spans and prints its trace id.
const { createRequire } = require("node:module");
const [modules, url, compression] = process.argv.slice(2);
const load = createRequire(`${modules}/package.json`);
const { SpanStatusCode, trace, context, ROOT_CONTEXT } = load("@opentelemetry/api");
const { OTLPTraceExporter } = load("@opentelemetry/exporter-trace-otlp-http");
const { resourceFromAttributes } = load("@opentelemetry/resources");
const { BasicTracerProvider, BatchSpanProcessor } = load("@opentelemetry/sdk-trace-base");

async function main() {
  const exporter = new OTLPTraceExporter({ url, compression, headers: { "x-mlflow-experiment-id": "42" } });
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ "service.name": "js-agent" }),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  });
  const tracer = provider.getTracer("js-tracer", "1.0");
  const root = tracer.startSpan("agent", { attributes: { "gen_ai.usage.input_tokens": 12, ratio: 0.5, ok: true } });
  const inside = trace.setSpan(ROOT_CONTEXT, root);
  const tool = tracer.startSpan("tool — grüße 🙂", { attributes: { list: ["a", "b"] } }, inside);
  tool.addEvent("exception", { "exception.message": "boom" });
  tool.setStatus({ code: SpanStatusCode.ERROR, message: "boom" });
  tool.end();
  tracer.startSpan("chat", { links: [{ context: root.spanContext() }] }, inside).end();
  root.end();
  await provider.forceFlush();
  await provider.shutdown();
  console.log(root.spanContext().traceId);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
