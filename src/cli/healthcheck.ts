import { get } from 'node:http'
import { readAdminAddress } from '../config/admin-address.js'
import { type Invocation, policyFile } from './commands.js'
import { EXIT, fail, print } from './output.js'

const TIMEOUT_MS = 3000

/** `postern healthcheck`: for a container's HEALTHCHECK, which has no curl and knows the exit codes 0 and 1 alone. */
export async function healthcheck(invocation: Invocation): Promise<number> {
  const base = typeof invocation.values.url === 'string' ? invocation.values.url : await adminUrl(invocation)
  const { status, text } = await ask(`${base.replace(/\/$/, '')}/readyz`)
  if (status === 200) {
    print('ready')
    return EXIT.ok
  }
  fail(
    status === null ? `no answer from ${base}: ${text}` : `not ready (${status})`,
    ...text.trim().split('\n'),
  )
  return EXIT.failure
}

async function adminUrl(invocation: Invocation): Promise<string> {
  const { host, port } = await readAdminAddress(policyFile(invocation), invocation.environment)
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`
}

function ask(url: string): Promise<{ status: number | null; text: string }> {
  return new Promise(resolve => {
    if (!URL.canParse(url)) return resolve({ status: null, text: 'not a URL' })
    const request = get(url, { timeout: TIMEOUT_MS }, response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', chunk => {
        text = (text + chunk).slice(0, 4096)
      })
      response.on('end', () => resolve({ status: response.statusCode ?? null, text }))
    })
    request.on('timeout', () => request.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)))
    request.on('error', error => resolve({ status: null, text: error.message }))
  })
}
