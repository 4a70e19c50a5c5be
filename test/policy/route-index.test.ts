import t from 'tap'
import { Denial, type Verdict } from '../../src/decision/denials.js'
import { parseTemplate, TemplateProblem } from '../../src/policy/path-template.js'
import type { Route } from '../../src/policy/policy.js'
import { RouteIndex, type RouteMatch } from '../../src/policy/route-index.js'
import { canonicalPath } from '../../src/request/canonical-path.js'

function route(method: string, template: string): Route {
  return {
    id: `${method} ${template}`,
    method,
    template,
    api: 'test',
    mtls: false,
    certificates: null,
    token: null,
    upstream: 'provider',
    errors: 'fdx',
    upgrade: null,
    responseTimeoutMs: null,
    profile: 'custom',
    headers: 'tolerant',
    paths: [],
    metadataPath: null,
    metadata: null,
    rates: [],
  }
}

function index(...keys: string[]): RouteIndex {
  const built = RouteIndex.build(keys.map(key => route(...(key.split(' ') as [string, string]))))
  if (!(built instanceof RouteIndex)) throw new Error('conflict')
  return built
}

function match(routes: RouteIndex, method: string, path: string): Verdict<RouteMatch> {
  const canonical = canonicalPath(path)
  return canonical instanceof Denial ? canonical : routes.match(method, canonical)
}

/** The matched route's id, or the denial's code. */
function answer(routes: RouteIndex, method: string, path: string): string {
  const found = match(routes, method, path)
  return found instanceof Denial ? found.code : found.route.id
}

t.test('a literal beats a parameter, and a parameter beats the rest', async t => {
  const routes = index('GET /a/{rest...}', 'GET /a/{id}', 'GET /a/b', 'GET /a/{id}/c', 'GET /a/b/d')
  t.equal(answer(routes, 'GET', '/a/b'), 'GET /a/b')
  t.equal(answer(routes, 'GET', '/a/x'), 'GET /a/{id}')
  t.equal(answer(routes, 'GET', '/a/x/c'), 'GET /a/{id}/c')
  t.equal(answer(routes, 'GET', '/a/b/d'), 'GET /a/b/d')
  t.equal(
    answer(routes, 'GET', '/a/b/c'),
    'GET /a/{id}/c',
    'a literal that leads nowhere does not hide a route',
  )
  t.equal(answer(routes, 'GET', '/a/x/y/z'), 'GET /a/{rest...}')
})

t.test('a parameter is exactly one segment and never empty', async t => {
  const routes = index('GET /accounts/{id}', 'GET /files/{path...}')
  for (const path of [
    '/accounts',
    '/accounts/',
    '/accounts/1/2',
    '/files',
    '/files/',
    '/files/a/',
    '/Accounts/1',
  ])
    t.equal(answer(routes, 'GET', path), 'route_unknown', path)
  const found = match(routes, 'GET', '/files/a/b%20c')
  t.same(found instanceof Denial ? null : found.parameters, { path: 'a/b%20c' })
})

t.test('a path that exists with other methods is a 405 that names them', async t => {
  const routes = index('PATCH /r/{id}', 'GET /r/{id}', 'POST /r/special')
  const denial = match(routes, 'DELETE', '/r/1')
  t.ok(denial instanceof Denial)
  if (denial instanceof Denial) {
    t.equal(denial.code, 'method_not_allowed')
    t.equal(denial.parameters.allow, 'GET, PATCH')
  }
  t.equal(
    answer(routes, 'GET', '/r/special'),
    'GET /r/{id}',
    'a literal of another method does not hide the route',
  )
  t.equal(answer(routes, 'HEAD', '/r/1'), 'method_not_allowed', 'HEAD is not implied by GET')
})

t.test('two routes that no request could tell apart are a conflict', async t => {
  const conflicts = RouteIndex.build([
    route('GET', '/a/{x}'),
    route('GET', '/a/{y}'),
    route('POST', '/a/{x}'),
    route('GET', '/f/{a...}'),
    route('GET', '/f/{b...}'),
  ])
  t.notOk(conflicts instanceof RouteIndex)
  if (!(conflicts instanceof RouteIndex))
    t.same(
      conflicts.map(conflict => [conflict.route.template, conflict.other.template]),
      [
        ['/a/{y}', '/a/{x}'],
        ['/f/{b...}', '/f/{a...}'],
      ],
    )
})

t.test('templates that no request could match are refused', async t => {
  for (const template of [
    'a',
    '//a',
    '/a/../b',
    '/a;v=1',
    '/a/%2f',
    '/%61',
    '/a b',
    '/{a',
    '/{a}b',
    '/{a...}/b',
    '/{a}/{a}',
    '/*',
    '/{1}',
    '/{}',
  ])
    t.ok(parseTemplate(template) instanceof TemplateProblem, template)
  for (const template of ['/', '/a', '/a/{b}', '/a/{b}/c/{d...}', '/caf%C3%A9', '/a:b'])
    t.notOk(parseTemplate(template) instanceof TemplateProblem, template)
})

t.test('10,000 routes are one look-up, not 10,000', async t => {
  const keys = Array.from({ length: 10_000 }, (_, number) => `GET /api/${number}/{id}/items`)
  const routes = index(...keys)
  t.equal(answer(routes, 'GET', '/api/9999/x/items'), 'GET /api/9999/{id}/items')
  t.equal(answer(routes, 'GET', '/api/10000/x/items'), 'route_unknown')
  t.equal(answer(routes, 'GET', `/${'a/'.repeat(2000)}a`), 'route_unknown')
})
