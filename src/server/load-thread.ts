/** The thread of `loadApart`. */
import { parentPort, workerData } from 'node:worker_threads'
import { dataOf } from '../config/configuration-data.js'
import { loadConfiguration } from '../config/load.js'
import type { Loaded, LoadOrder } from './load-beside.js'

const { file, environment } = workerData as LoadOrder
const loaded = await loadConfiguration(file, environment)
const answer: Loaded = 'settings' in loaded ? { configuration: dataOf(loaded) } : { problems: loaded }
parentPort?.postMessage(answer)
