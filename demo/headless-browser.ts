/** The user's browser in the code flow: it follows redirects, keeps cookies, and stops at the client's address. */
import { type Agent, fetch } from 'undici'

/** Login and consent take six redirects; a loop would never end. */
const mostRedirects = 12

type Cookie = { readonly name: string; readonly value: string; readonly path: string }

/** @returns the address of the client with the authorization response in its query */
export async function completeLogin(start: URL, redirectUri: string, dispatcher: Agent): Promise<URL> {
  const cookies = new Map<string, Cookie>()
  let url = start
  for (let redirects = 0; redirects < mostRedirects; redirects++) {
    const response = await fetch(url, {
      redirect: 'manual',
      headers: { cookie: cookieHeader(cookies, url) },
      dispatcher,
    })
    const body = await response.text()
    for (const line of response.headers.getSetCookie()) storeCookie(cookies, line, url)
    const location = response.headers.get('location')
    if (!location)
      throw new Error(`${url.pathname} answered ${response.status} and no redirect: ${body.slice(0, 500)}`)
    url = new URL(location, url)
    if (`${url.origin}${url.pathname}` === redirectUri) return url
  }
  throw new Error(`no answer after ${mostRedirects} redirects`)
}

/** As much of RFC 6265 section 5 as one host needs: a cookie is known by its name and path. */
function storeCookie(cookies: Map<string, Cookie>, line: string, url: URL): void {
  const [pair = '', ...attributes] = line.split(';').map(part => part.trim())
  const equals = pair.indexOf('=')
  const name = pair.slice(0, equals)
  const attribute = (wanted: string) =>
    attributes.find(text => text.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1)
  const path = attribute('path') ?? url.pathname
  const expires = attribute('expires')
  const key = `${name} ${path}`
  if (expires && Date.parse(expires) <= Date.now()) cookies.delete(key)
  else cookies.set(key, { name, value: pair.slice(equals + 1), path })
}

function cookieHeader(cookies: Map<string, Cookie>, url: URL): string {
  return [...cookies.values()]
    .filter(({ path }) => path === '/' || url.pathname === path || url.pathname.startsWith(`${path}/`))
    .map(({ name, value }) => `${name}=${value}`)
    .join('; ')
}
