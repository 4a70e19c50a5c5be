/**
 * What node:http is told of parsing. What it then accepts and rejects, on each version of Node, is held by
 * test/wire/node-parser.test.ts.
 */
export const PARSER_SETTINGS = {
  requireHostHeader: false, // readRequest says it with our own answer
  insecureHTTPParser: false,
} as const

/** Node silently drops fields beyond a count, which could hide a second Authorization; 0: bytes are bounded instead. */
export const MAX_HEADERS_COUNT = 0
