import type { Target } from './target.js'
import { path } from './targets/path.js'
import { policy } from './targets/policy.js'
import { request } from './targets/request.js'
import { token } from './targets/token.js'

/** Every target. A new one is its file and a line here. */
export const TARGETS: readonly Target[] = [request, token, path, policy]
