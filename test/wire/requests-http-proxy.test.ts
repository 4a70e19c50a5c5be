import t from 'tap'
import { requestsSuite } from './requests-suite.js'

await requestsSuite(t, 'http-proxy')
