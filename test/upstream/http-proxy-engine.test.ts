import t from 'tap'
import { engineSuite } from './engine-suite.js'

engineSuite(t, 'http-proxy')
