/** A worker process: `cluster.fork` of `worker-process.ts` runs this file. */

// Ctrl-C and systemd signal every process of the group. The primary alone decides when a worker ends: before anything else
// that takes long, such as loading what follows.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
const { serveAsWorker } = await import('./worker.js')
serveAsWorker()
