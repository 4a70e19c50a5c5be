/** The API behind every target: nginx with static answers, so that it costs as little as can be. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../test/support/free-port.js'
import { listening, type Started, start, versionOf } from './processes.js'
import { nginxConfiguration } from './targets/nginx.js'

/** Sizes of answers by path, in bytes. */
const ANSWERS: Readonly<Record<string, number>> = {
  small: 1024,
  '64k': 64 * 1024,
  '1m': 1024 * 1024,
  '100m': 100 * 1024 * 1024,
}

export interface Upstream {
  readonly port: number
  readonly started: Started
}

export async function startUpstream(work: string, cores: string): Promise<Upstream> {
  if (versionOf('nginx', '-v') === null)
    throw new Error('the upstream is nginx, which is not installed: apt-get install nginx')
  const directory = join(work, 'upstream')
  mkdirSync(directory, { recursive: true })
  for (const [name, bytes] of Object.entries(ANSWERS)) {
    const file = join(directory, `${name}.json`)
    if (!existsSync(file)) writeFileSync(file, jsonOf(bytes))
  }
  const port = await freePort()
  const file = join(directory, 'nginx.conf')
  writeFileSync(file, configuration(port, directory))
  const log = join(directory, 'error.log')
  const started = start({ command: 'nginx', args: ['-c', file, '-e', log], cores, log })
  await listening(port, started, log)
  return { port, started }
}

function jsonOf(bytes: number): string {
  const [before, after] = ['{"items":[{"id":1,"name":"item"}],"padding":"', '"}']
  return before + 'x'.repeat(bytes - before.length - after.length) + after
}

function configuration(port: number, directory: string): string {
  const answers = Object.keys(ANSWERS).map(
    name => `location = /api/${name} { root ${directory}; try_files /${name}.json =404; }`,
  )
  return nginxConfiguration(
    directory,
    `  sendfile on;
  client_body_buffer_size 2m;
  open_file_cache max=100 inactive=600s;
  open_file_cache_valid 600s;
  default_type application/json;
  upstream self { server 127.0.0.1:${port}; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    ${answers.join('\n    ')}
    # An answer before the whole request has come would have the proxies end their connections. proxy_pass reads the body
    # to its end, drops it here, and fetches the answer from the line below.
    location = /api/up {
      proxy_pass http://self/taken;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      proxy_pass_request_body off;
    }
    location = /taken { return 200 '{"taken":true}'; }
    location / { return 200 '{"ok":true}'; }
  }`,
  )
}
