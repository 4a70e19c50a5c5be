/** All scenarios, in the order in which they run. */
import type { Scenario } from './scenario.js'
import { DRAIN } from './scenarios/drain.js'
import { ISSUER_OUTAGE } from './scenarios/issuer-outage.js'
import { KEY_ROTATION } from './scenarios/key-rotation.js'
import { POLICY_BOMB } from './scenarios/policy-bomb.js'
import { RELOAD } from './scenarios/reload.js'
import { UPSTREAM_FLAPPING } from './scenarios/upstream-flapping.js'
import { WORKER_CRASH } from './scenarios/worker-crash.js'

export const SCENARIOS: readonly Scenario[] = [
  RELOAD,
  POLICY_BOMB,
  WORKER_CRASH,
  UPSTREAM_FLAPPING,
  KEY_ROTATION,
  ISSUER_OUTAGE,
  DRAIN,
]
