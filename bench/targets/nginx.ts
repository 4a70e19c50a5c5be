import { versionOf } from '../processes.js'
import { type Place, type Target, write } from './target.js'

/** As root, workers stay root: the folder of the run need not be open to others. It listens on 127.0.0.1 only. */
const USER = process.getuid?.() === 0 ? 'user root;\n' : ''

/** Folders that nginx wants to make, kept within that of the run. */
function temporary(directory: string): string {
  return ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `${name}_temp_path ${directory}/${name};`)
    .join(' ')
}

/** What every nginx of a run has in common, around the lines of `http` that are its own. */
export function nginxConfiguration(directory: string, http: string): string {
  return `${USER}worker_processes 1;
worker_rlimit_nofile 50000;
daemon off;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
events { worker_connections 22000; }
http {
  access_log off;
  tcp_nodelay on;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  client_max_body_size 256m;
  ${temporary(directory)}
${http}
}
`
}

/** The floor: TLS and client certificates in C, and nothing that looks at a token. */
export const nginx: Target = {
  name: 'nginx',
  title: 'nginx, no policy',
  judgesTokens: false,
  version: () => versionOf('nginx', '-v'),
  howToGet: 'apt-get install nginx (or the package of your system)',
  prepare: place => ({
    command: 'nginx',
    args: ['-c', write(place, 'nginx.conf', configuration(place)), '-e', `${place.directory}/error.log`],
  }),
}

function configuration({ port, upstreamPort, directory, material }: Place): string {
  return nginxConfiguration(
    directory,
    `  upstream provider {
    server 127.0.0.1:${upstreamPort};
    keepalive 512;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
  }
  server {
    listen 127.0.0.1:${port} ssl http2 backlog=4096;
    ssl_certificate ${material.serverCert};
    ssl_certificate_key ${material.serverKey};
    ssl_client_certificate ${material.ca};
    ssl_verify_client on;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      # Bodies stream, as they do through the others.
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }
  }`,
  )
}
