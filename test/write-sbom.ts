/** `npm run sbom`: writes the bill of materials of what runs in production. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './support/root.js'
import { billOfMaterials, SBOM_FILE } from './support/supply-chain.js'

writeFileSync(join(ROOT, SBOM_FILE), billOfMaterials())
process.stdout.write(`${SBOM_FILE}\n`)
