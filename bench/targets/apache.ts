import { chmodSync, chownSync, existsSync, readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { AUDIENCE, ISSUER } from '../material.js'
import { versionOf } from '../processes.js'
import { type Place, type Target, write } from './target.js'

const MODULES = '/usr/lib/apache2/modules'
const IDS_OF_WWW_DATA = 33

/** Apache httpd with mod_oauth2: the other way to have certificate-bound tokens checked in front of an API. */
export const apache: Target = {
  name: 'apache',
  title: 'Apache, mod_oauth2',
  judgesTokens: true,
  version: () => (existsSync(`${MODULES}/mod_oauth2.so`) ? versionOf('apache2', '-v') : null),
  gaps: { 'token: future': 'mod_oauth2 does not look at nbf' },
  howToGet: 'apt-get install apache2 libapache2-mod-oauth2 (the layout of Debian is expected)',
  prepare: place => {
    if (userInfo().uid === 0) {
      chmodSync(place.directory, 0o755)
      chownSync(place.directory, IDS_OF_WWW_DATA, IDS_OF_WWW_DATA)
    }
    return {
      command: 'apache2',
      args: ['-DFOREGROUND', '-f', write(place, 'httpd.conf', configuration(place))],
    }
  },
}

const LOADED = [
  'mpm_event',
  'authn_core',
  'authz_core',
  'authz_user',
  'socache_shmcb',
  'ssl',
  'proxy',
  'proxy_http',
  'rewrite',
  'oauth2',
]

function configuration({ port, upstreamPort, directory, material }: Place): string {
  const { keys } = JSON.parse(readFileSync(material.jwks, 'utf8')) as { keys: unknown[] }
  return `ServerRoot /usr/lib/apache2
ServerName localhost
PidFile ${directory}/httpd.pid
ErrorLog ${directory}/error.log
LogLevel warn
Mutex file:${directory}
DefaultRuntimeDir ${directory}
Listen 127.0.0.1:${port}
ListenBackLog 4096
User www-data
Group www-data
${LOADED.map(name => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join('\n')}
StartServers 1
ServerLimit 2
ThreadLimit 256
ThreadsPerChild 256
MaxRequestWorkers 512
MinSpareThreads 1
MaxSpareThreads 512
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 600
Timeout 600
SSLEngine on
SSLProtocol -all +TLSv1.2 +TLSv1.3
SSLCertificateFile ${material.serverCert}
SSLCertificateKeyFile ${material.serverKey}
SSLCACertificateFile ${material.ca}
SSLVerifyClient require
SSLSessionCache shmcb:${directory}/sessions(20971520)
SSLOptions +ExportCertData
ProxyPass / http://127.0.0.1:${upstreamPort}/ keepalive=On enablereuse=On
<Location />
  AuthType oauth2
  OAuth2TokenVerify jwk '${JSON.stringify(keys[0])}' type=mtls&verify.exp=required&verify.iat=optional
  <RequireAll>
    Require oauth2_claim iss:${ISSUER}
    Require oauth2_claim aud:${AUDIENCE}
  </RequireAll>
  # "Require oauth2_claim" has no regular expressions in Debian's build, and "Require expr" runs before the token is
  # read. Scopes and paths are therefore judged in the fixup phase, by the header that mod_oauth2 sets (and scrubs).
  RewriteEngine On
  RewriteCond %{REQUEST_URI} !^/api/
  RewriteRule ^ - [F]
  RewriteCond %{REQUEST_METHOD} ^(GET|HEAD)$
  RewriteCond %{HTTP:OAUTH2_CLAIM_scope} !(^|\\s)api\\.read(\\s|$)
  RewriteRule ^ - [F]
  RewriteCond %{REQUEST_METHOD} !^(GET|HEAD)$
  RewriteCond %{HTTP:OAUTH2_CLAIM_scope} !(^|\\s)api\\.write(\\s|$)
  RewriteRule ^ - [F]
</Location>
`
}
