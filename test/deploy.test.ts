import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { makeDevelopmentCertificates } from '../src/cli/certs.js'
import { loadConfiguration } from '../src/config/load.js'
import { formatProblem } from '../src/config/problem.js'
import { METRICS } from '../src/observe/metric-table.js'
import { ROOT } from './support/root.js'

const ALERTS = join(ROOT, 'deploy/prometheus/alerts.yml')
const UNIT = join(ROOT, 'deploy/systemd/postern.service')
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }

/** Runs a tool that the machine may lack: null when it does. */
function tryTool(command: string, args: readonly string[]): { ok: boolean; text: string } | null {
  const { error, status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  return error === undefined ? { ok: status === 0, text: stdout + stderr } : null
}

interface AlertFile {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[]
}

t.test('the alerts ask for metrics that exist, with labels that these have', async t => {
  const { groups } = parse(readFileSync(ALERTS, 'utf8')) as AlertFile
  const rules = groups.flatMap(group => group.rules)
  t.ok(rules.length > 0)
  for (const { alert, expr } of rules) {
    for (const [name] of expr.matchAll(/\bpostern_\w+/g)) {
      const metric = Object.values(METRICS).find(metric => metric.name === name)
      t.ok(metric !== undefined, `${alert} asks for ${name}`)
      const [, selector = ''] = new RegExp(`${name}\\{([^}]*)\\}`).exec(expr) ?? []
      for (const [, label = ''] of selector.matchAll(/(\w+)[=!]/g))
        t.ok(
          (metric?.labels as readonly string[] | undefined)?.includes(label),
          `${alert}: ${name} has the label ${label}`,
        )
    }
  }
})

const noPromtool = tryTool('promtool', ['--version']) === null && 'promtool is not installed'
const noSystemd = tryTool('systemd-analyze', ['--version']) === null && 'systemd-analyze is not installed'

t.test('promtool accepts the alerts', { skip: noPromtool }, async t => {
  const { ok, text } = tryTool('promtool', ['check', 'rules', ALERTS]) ?? { ok: false, text: '' }
  t.ok(ok, text)
})

t.test('systemd reloads with SIGHUP, waits for the drain and does not retry an invalid policy', async t => {
  const unit = readFileSync(UNIT, 'utf8')
  t.match(unit, 'ExecReload=/bin/kill -HUP $MAINPID')
  t.match(unit, 'RestartPreventExitStatus=78')
  t.ok(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]) > 30)
})

t.test('systemd-analyze accepts the unit', { skip: noSystemd }, async t => {
  const file = join(t.testdir(), 'postern.service')
  // The Node of this machine, so that the verdict is about the unit and not about what is installed.
  writeFileSync(file, readFileSync(UNIT, 'utf8').replaceAll('/usr/bin/node', process.execPath))
  const { text } = tryTool('systemd-analyze', ['verify', '--man=no', file]) ?? { text: '' }
  t.notMatch(text, /postern\.service:/, 'no complaint about the unit')
})

interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly data?: Readonly<Record<string, string>>
  readonly spec?: { readonly template?: { readonly spec: PodSpec } }
}

interface PodSpec {
  readonly terminationGracePeriodSeconds: number
  readonly securityContext: { readonly runAsNonRoot: boolean }
  readonly initContainers: readonly Container[]
  readonly volumes: readonly { readonly projected: { readonly sources: readonly Source[] } }[]
}

interface Container {
  readonly image: string
  readonly restartPolicy: string
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[]
  readonly volumeMounts: readonly { readonly mountPath: string }[]
  readonly securityContext: Readonly<Record<string, unknown>>
  readonly startupProbe: Probe
  readonly livenessProbe: Probe
  readonly readinessProbe: Probe
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string }
}

interface Source {
  readonly secret?: { readonly items: readonly { readonly path: string }[] }
  readonly configMap?: { readonly name: string; readonly items?: readonly { readonly path: string }[] }
}

function manifests(): Manifest[] {
  return parseAllDocuments(readFileSync(join(ROOT, 'deploy/kubernetes/sidecar.yaml'), 'utf8')).map(
    document => {
      t.same(document.errors, [])
      return document.toJS() as Manifest
    },
  )
}

function podSpec(): PodSpec {
  const spec = manifests().find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec
  if (spec === undefined) throw new Error('no Deployment')
  return spec
}

t.test('the policy of the Kubernetes example loads with the files that the pod mounts', async t => {
  const policy = manifests().find(({ metadata }) => metadata.name === 'postern-policy')?.data?.[
    'policies.yaml'
  ]
  const folder = t.testdir({ made: {} })
  await makeDevelopmentCertificates(join(folder, 'made'))
  const standIns: Readonly<Record<string, string>> = {
    'tls/tls.crt': 'server.pem',
    'tls/tls.key': 'server.key',
    'clients/ca.crt': 'client-ca.pem',
  }
  const items = podSpec()
    .volumes.flatMap(({ projected }) => projected.sources)
    .flatMap(({ secret, configMap }) => secret?.items ?? configMap?.items ?? [])
  for (const { path } of items) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    copyFileSync(join(folder, 'made', standIns[path] ?? `${path} is not known`), join(folder, path))
  }
  const file = join(folder, 'policies.yaml')
  writeFileSync(file, policy ?? '')
  const loaded = await loadConfiguration(file, {})
  if (!('settings' in loaded)) throw new Error(loaded.map(formatProblem).join('\n'))
  const [sidecar] = podSpec().initContainers
  t.same(
    sidecar?.ports.map(({ containerPort }) => containerPort),
    [loaded.settings.server.listen.port, loaded.settings.admin.port],
    'the ports of the pod are those of the policy',
  )
  t.equal(loaded.settings.admin.host, '0.0.0.0', 'probes come from outside of the pod')
})

t.test('the sidecar of the Kubernetes example is one, and may do nothing that it does not need', async t => {
  const spec = podSpec()
  const [sidecar] = spec.initContainers
  if (sidecar === undefined) throw new Error('no sidecar')
  t.equal(sidecar.restartPolicy, 'Always')
  t.match(sidecar.image, new RegExp(`:${version}$`))
  t.ok(spec.securityContext.runAsNonRoot)
  t.match(sidecar.securityContext, {
    runAsUser: 65532,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  })
  t.same(
    sidecar.volumeMounts.map(({ mountPath }) => mountPath),
    ['/etc/postern'],
  )
  for (const probe of ['startupProbe', 'livenessProbe'] as const)
    t.equal(sidecar[probe].httpGet.path, '/livez', probe)
  t.equal(sidecar.readinessProbe.httpGet.path, '/readyz')
  t.ok(spec.terminationGracePeriodSeconds > 30, 'longer than the drain')
})
