import t from 'tap'
import { faultSuite } from './fault-suite.js'

faultSuite(t, 'builtin')
