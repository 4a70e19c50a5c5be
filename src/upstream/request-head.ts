/** The head of a request to an upstream, as bytes. */
import type { RawHeaders } from '../request/headers.js'
import { remembered } from './field-names.js'

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const UNSAFE_IN_TARGET = /[^\x21-\x7e\x80-\xff]/
const UNSAFE_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/

const isName = remembered(name => TOKEN.test(name))

/**
 * Latin-1 text, connection kept alive. Throws where a part would end its line, or be cut on its way to bytes: the rest
 * would be read as a field or a request that nobody checked (CWE-93).
 */
export function requestHead(method: string, target: string, headers: RawHeaders): string {
  if (!TOKEN.test(method) || target === '' || UNSAFE_IN_TARGET.test(target))
    throw new Error('unsafe request line')
  let head = `${method} ${target} HTTP/1.1\r\n`
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    if (!isName(name) || UNSAFE_IN_VALUE.test(value)) throw new Error('unsafe request field')
    head += `${name}: ${value}\r\n`
  }
  return `${head}Connection: keep-alive\r\n\r\n`
}
