import { resolve } from 'node:path'

/** Where package.json, policies.yaml and certs/ are: two folders above the compiled build/demo/. */
export const projectRoot = resolve(import.meta.dirname, '../..')
