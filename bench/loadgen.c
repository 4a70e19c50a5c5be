/*
 * loadgen: a load generator for HTTP/1.1 and HTTP/2 over mutual TLS. One thread, epoll, OpenSSL. It speaks to 127.0.0.1 and to no other host.
 *
 *   cc -O2 -Wall -Wextra -o loadgen loadgen.c -lssl -lcrypto
 *
 * One run is one slice: it opens its connections, warms up, counts for a while and prints one line of JSON. Processor time of
 * the processes under test is read here, at the very moments at which counting begins and ends.
 *
 *   --port N             port of the target                --name TEXT        SNI and Host
 *   --cert F --key F     client certificate and key (PEM)  --tokens F         bearer tokens, one a line
 *   --skip N --count N   the part of that file to use      --each-once        end when each was sent once
 *   --connections N      connections at a time             --new-connections  a connection for each request
 *   --tls12              TLS 1.2 instead of 1.3            --rate R           requests a second, sent whether or not
 *   --method M --path P  of every request                                     answers came (default: one after another)
 *   --upload BYTES       body of every request             --timeout S        for one request (default 30)
 *   --http2              one stream after the other; no    --warmup S         not counted
 *                        --upload                          --seconds S        counted
 *   --requests N         instead of both: count from the start, end after N answers
 *   --pids A,B           processes under test              --cores A,B --load-cores A,B   whose noise is reported
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t nanos;
#define SECOND 1000000000ull

static nanos now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (nanos)t.tv_sec * SECOND + (nanos)t.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
  ERR_print_errors_fp(stderr);
  exit(2);
}

/* ---------------------------------------------------------------- options */

enum { MAX_LIST = 600 };
typedef struct { int n, item[MAX_LIST]; } list;

static struct {
  int port, connections;
  const char *name, *cert, *key, *tokens, *method, *path;
  long skip, count, requests;
  bool each_once, new_connections, tls12, http2;
  double rate, warmup, seconds, timeout;
  long upload;
  list pids, cores, load_cores;
} opt = {.connections = 64, .name = "localhost", .method = "GET", .path = "/", .warmup = 1, .seconds = 1, .timeout = 30};

static list numbers(const char *text) {
  list l = {0};
  while (*text && l.n < MAX_LIST) {
    char *end;
    l.item[l.n++] = (int)strtol(text, &end, 10);
    text = *end == ',' ? end + 1 : end + strlen(end);
  }
  return l;
}

static void read_options(int argc, char **argv) {
  enum { PORT = 1, NAME, CERT, KEY, TOKENS, SKIP, COUNT, EACH_ONCE, CONNECTIONS, NEW_CONNECTIONS, TLS12, HTTP2, RATE, METHOD, PATH, UPLOAD, WARMUP, SECONDS, REQUESTS, PIDS, CORES, LOAD_CORES, TIMEOUT };
  static const struct option names[] = {
    {"port", 1, 0, PORT}, {"name", 1, 0, NAME}, {"cert", 1, 0, CERT}, {"key", 1, 0, KEY}, {"tokens", 1, 0, TOKENS},
    {"skip", 1, 0, SKIP}, {"count", 1, 0, COUNT}, {"each-once", 0, 0, EACH_ONCE}, {"connections", 1, 0, CONNECTIONS},
    {"new-connections", 0, 0, NEW_CONNECTIONS}, {"tls12", 0, 0, TLS12}, {"http2", 0, 0, HTTP2}, {"rate", 1, 0, RATE}, {"method", 1, 0, METHOD},
    {"path", 1, 0, PATH}, {"upload", 1, 0, UPLOAD}, {"warmup", 1, 0, WARMUP}, {"seconds", 1, 0, SECONDS},
    {"requests", 1, 0, REQUESTS}, {"pids", 1, 0, PIDS}, {"cores", 1, 0, CORES}, {"load-cores", 1, 0, LOAD_CORES},
    {"timeout", 1, 0, TIMEOUT}, {0}};
  for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) switch (o) {
      case PORT: opt.port = atoi(optarg); break;
      case NAME: opt.name = optarg; break;
      case CERT: opt.cert = optarg; break;
      case KEY: opt.key = optarg; break;
      case TOKENS: opt.tokens = optarg; break;
      case SKIP: opt.skip = atol(optarg); break;
      case COUNT: opt.count = atol(optarg); break;
      case EACH_ONCE: opt.each_once = true; break;
      case CONNECTIONS: opt.connections = atoi(optarg); break;
      case NEW_CONNECTIONS: opt.new_connections = true; break;
      case TLS12: opt.tls12 = true; break;
      case HTTP2: opt.http2 = true; break;
      case RATE: opt.rate = atof(optarg); break;
      case METHOD: opt.method = optarg; break;
      case PATH: opt.path = optarg; break;
      case UPLOAD: opt.upload = atol(optarg); break;
      case WARMUP: opt.warmup = atof(optarg); break;
      case SECONDS: opt.seconds = atof(optarg); break;
      case REQUESTS: opt.requests = atol(optarg); break;
      case PIDS: opt.pids = numbers(optarg); break;
      case CORES: opt.cores = numbers(optarg); break;
      case LOAD_CORES: opt.load_cores = numbers(optarg); break;
      case TIMEOUT: opt.timeout = atof(optarg); break;
      default: exit(2);
    }
  if (opt.port <= 0 || opt.connections < 1 || !opt.cert || !opt.key) {
    fprintf(stderr, "loadgen: --port, --cert and --key are needed\n");
    exit(2);
  }
  if (opt.http2 && opt.upload) {
    fprintf(stderr, "loadgen: --http2 sends no bodies\n");
    exit(2);
  }
}

static char **tokens;
static long token_count, token_next;

static void read_tokens(void) {
  if (!opt.tokens) return;
  FILE *file = fopen(opt.tokens, "r");
  if (!file) die(opt.tokens);
  char *line = NULL;
  size_t capacity = 0;
  long allocated = 0;
  ssize_t length;
  for (long row = 0; (length = getline(&line, &capacity, file)) > 0; row++) {
    if (row < opt.skip) continue;
    if (opt.count && token_count == opt.count) break;
    if (token_count == allocated) {
      allocated = allocated ? allocated * 2 : 1024;
      tokens = realloc(tokens, (size_t)allocated * sizeof *tokens);
    }
    line[strcspn(line, "\r\n")] = 0;
    tokens[token_count++] = strdup(line);
  }
  free(line);
  fclose(file);
  if (!token_count) die("no tokens are left in the file");
}

/* ---------------------------------------------------------------- what the machine and the target did */

/* Nanoseconds that a process has run, over all its threads; ticks of /proc/PID/stat where the kernel keeps no schedstat. */
static double cpu_of(int pid) {
  char path[300], text[1024];
  double sum = 0;
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = opendir(path);
  if (!tasks) return 0;
  for (struct dirent *task; (task = readdir(tasks));) {
    if (!isdigit((unsigned char)task->d_name[0])) continue;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, task->d_name);
    FILE *file = fopen(path, "r");
    double ran = 0;
    if (file) {
      if (fscanf(file, "%lf", &ran) != 1) ran = 0;
      fclose(file);
    }
    sum += ran;
  }
  closedir(tasks);
  if (sum > 0) return sum;
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  size_t n = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[n] = 0;
  unsigned long user = 0, kernel = 0;
  char *after_name = strrchr(text, ')');
  if (after_name) sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
  return (double)(user + kernel) * 1e9 / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_of_all(const list *pids) {
  double sum = 0;
  for (int i = 0; i < pids->n; i++) sum += cpu_of(pids->item[i]);
  return sum;
}

/* A number of kB from a file of /proc/PID. */
static long kb_of(int pid, const char *file_name, const char *key) {
  char path[64], line[256];
  long value = 0;
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file_name);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  while (fgets(line, sizeof line, file))
    if (!strncmp(line, key, strlen(key))) {
      value = atol(line + strlen(key));
      break;
    }
  fclose(file);
  return value;
}

static long kb_of_all(const char *file_name, const char *key) {
  long sum = 0;
  for (int i = 0; i < opt.pids.n; i++) sum += kb_of(opt.pids.item[i], file_name, key);
  return sum;
}

/* Milliseconds that some cores were busy, and that the hypervisor took from them ("steal" of /proc/stat). */
typedef struct { double busy, stolen; } core_time;

static core_time time_of(const list *cores) {
  core_time sum = {0, 0};
  char line[512];
  FILE *file = fopen("/proc/stat", "r");
  if (!file) return sum;
  double ms_per_tick = 1000.0 / (double)sysconf(_SC_CLK_TCK);
  while (fgets(line, sizeof line, file)) {
    int core;
    unsigned long v[8]; /* user nice system idle iowait irq softirq steal */
    if (sscanf(line, "cpu%d %lu %lu %lu %lu %lu %lu %lu %lu", &core, v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7) != 9) continue;
    for (int i = 0; i < cores->n; i++)
      if (cores->item[i] == core) {
        sum.busy += (double)(v[0] + v[1] + v[2] + v[5] + v[6]) * ms_per_tick;
        sum.stolen += (double)v[7] * ms_per_tick;
      }
  }
  fclose(file);
  return sum;
}

typedef struct {
  nanos at;
  double target_cpu, own_cpu; /* nanoseconds */
  core_time cores, load_cores;
} snapshot;

static snapshot look(void) {
  struct rusage own;
  getrusage(RUSAGE_SELF, &own);
  double own_cpu = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) * 1e9 + (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) * 1e3;
  return (snapshot){now(), cpu_of_all(&opt.pids), own_cpu, time_of(&opt.cores), time_of(&opt.load_cores)};
}

/* ---------------------------------------------------------------- latencies: log-linear, 64 steps in each power of two of microseconds */

enum { STEPS = 64, POWERS = 40 };
static uint64_t histogram[POWERS * STEPS], latencies;

static int bucket_of(uint64_t us) {
  if (us < STEPS) return (int)us;
  int power = 63 - __builtin_clzll(us) - 6;
  int bucket = (power + 1) * STEPS + (int)((us >> power) - STEPS);
  return bucket < POWERS * STEPS ? bucket : POWERS * STEPS - 1;
}

static double middle_of(int bucket) {
  if (bucket < STEPS) return bucket;
  int power = bucket / STEPS - 1;
  return (double)((uint64_t)(bucket % STEPS + STEPS) << power) + (double)(1ull << power) / 2;
}

static double percentile(double p) {
  uint64_t wanted = (uint64_t)(p / 100 * (double)latencies + 0.5), seen = 0;
  for (int i = 0; i < POWERS * STEPS; i++)
    if ((seen += histogram[i]) >= wanted && seen) return middle_of(i);
  return 0;
}

/* ---------------------------------------------------------------- connections */

typedef enum { CLOSED, CONNECTING, HANDSHAKE, IDLE, SENDING, RECEIVING } state;
typedef enum { HEAD, SIZED, CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, TRAILER, TRAILER_LINE, LAST_LF } phase;

enum { HEAD_MAX = 8192, BLOCK = 65536, OPENING_MAX = 64 };

typedef struct connection {
  state state;
  int fd, events;
  SSL *ssl;
  nanos asked;  /* when the request should have been sent; latency counts from here */
  nanos active; /* when it was sent; the timeout counts from here */
  char *out;    /* head of the request */
  int out_length, out_done, out_capacity;
  long upload_left;
  char head[HEAD_MAX]; /* of an answer; or a frame of HTTP/2 */
  int head_length, status;
  phase phase;
  long long left; /* bytes of the body, or of the chunk */
  unsigned stream; /* the present one of HTTP/2; 0: none so far */
  bool server_closes, counted_open;
  struct connection *next_idle;
  bool in_idle;
} connection;

static SSL_CTX *context;
static int epoll;
static connection *all;
static connection *idle;       /* those that wait for the schedule of --rate */
static char block[BLOCK];      /* what bodies are made of, and where answers are read to */
static char received[BLOCK];
static int opened, opening, next_to_open;
static bool measuring, ending, out_of_tokens;
static uint64_t requests, others, finished, handshakes, bytes_in, bytes_out;
static uint64_t statuses[1000];
static struct { uint64_t connect, tls, io, parse, timeout; } errors;
static nanos schedule_start;
static uint64_t scheduled; /* requests whose time has come and that were given to a connection */

static void advance(connection *c);
static void open_connection(connection *c);

static void listen_for(connection *c, int events) {
  if (c->events == events) return;
  struct epoll_event event = {.events = (uint32_t)events, .data.ptr = c};
  epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
  c->events = events;
}

static void close_connection(connection *c) {
  if (c->state == CLOSED) return;
  if (c->state == CONNECTING || c->state == HANDSHAKE) opening--;
  if (c->state >= IDLE) SSL_shutdown(c->ssl);
  SSL_free(c->ssl);
  ERR_clear_error();
  close(c->fd);
  c->ssl = NULL;
  c->fd = -1;
  c->state = CLOSED;
}

/* The connection is opened again by `reopen`, a little later: a target that is down must not be asked in a tight loop. */
static void fail(connection *c, uint64_t *counter) {
  (*counter)++;
  finished++;
  close_connection(c);
}

static void open_connection(connection *c) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int on = 1;
  c->stream = 0;
  c->head_length = 0;
  c->server_closes = false;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  c->state = CONNECTING;
  c->active = now();
  opening++;
  int failed = connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS;
  c->ssl = SSL_new(context);
  SSL_set_fd(c->ssl, c->fd);
  SSL_set_tlsext_host_name(c->ssl, opt.name);
  SSL_set_connect_state(c->ssl);
  c->events = EPOLLIN | EPOLLOUT;
  struct epoll_event event = {.events = (uint32_t)c->events, .data.ptr = c};
  epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
  if (failed) fail(c, &errors.connect);
}

/* The first round, so many at a time that a listener is not flooded. */
static void open_more(void) {
  while (next_to_open < opt.connections && opening < OPENING_MAX) {
    connection *c = &all[next_to_open++];
    c->asked = now();
    open_connection(c);
  }
}

static void reopen(void) {
  for (int i = 0; i < next_to_open && opening < OPENING_MAX; i++)
    if (all[i].state == CLOSED && !all[i].in_idle) {
      all[i].asked = now();
      open_connection(&all[i]);
    }
}

/* ---------------------------------------------------------------- requests and answers */

static void build_request1(connection *c, const char *token) {
  int n = sprintf(c->out, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: loadgen\r\nAccept: application/json\r\n", opt.method, opt.path, opt.name);
  if (token) n += sprintf(c->out + n, "Authorization: Bearer %s\r\n", token);
  if (opt.upload) n += sprintf(c->out + n, "Content-Type: application/octet-stream\r\nContent-Length: %ld\r\n", opt.upload);
  if (opt.new_connections) n += sprintf(c->out + n, "Connection: close\r\n");
  n += sprintf(c->out + n, "\r\n");
  c->out_length = n;
}

/* HTTP/2: RFC 9113; fields as HPACK has them without a table and without Huffman coding, RFC 7541 section 6.2.2. */

enum { DATA = 0, HEADERS = 1, RESET = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, FRAME_HEAD = 9, FRAME_MAX = 16384 };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8, PRIORITISED = 32 };

static int put_frame_head(char *to, int length, int type, int flags, unsigned stream) {
  const char head[FRAME_HEAD] = {(char)(length >> 16), (char)(length >> 8), (char)length, (char)type, (char)flags, (char)(stream >> 24), (char)(stream >> 16), (char)(stream >> 8), (char)stream};
  memcpy(to, head, FRAME_HEAD);
  return FRAME_HEAD;
}

static int put_text(char *to, const char *text) {
  size_t length = strlen(text);
  int n = 0;
  if (length < 127) to[n++] = (char)length;
  else {
    to[n++] = 127;
    size_t rest = length - 127;
    for (; rest >= 128; rest /= 128) to[n++] = (char)(rest % 128 + 128);
    to[n++] = (char)rest;
  }
  memcpy(to + n, text, length);
  return n + (int)length;
}

static int put_field(char *to, const char *name, const char *value) {
  to[0] = 0;
  int n = 1 + put_text(to + 1, name);
  return n + put_text(to + n, value);
}

/* No table for fields, so that a status is never behind an index of it; no pushed streams; windows that never fill. */
static const char OPENING[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
  "\0\0\x12\4\0\0\0\0\0" "\0\1\0\0\0\0" "\0\2\0\0\0\0" "\0\4\x7f\xff\xff\xff"
  "\0\0\4\x8\0\0\0\0\0" "\x7f\xfe\0\0";

static void build_request2(connection *c, const char *token) {
  int n = 0;
  if (c->stream == 0) {
    memcpy(c->out, OPENING, sizeof OPENING - 1);
    n = sizeof OPENING - 1;
  }
  c->stream = c->stream ? c->stream + 2 : 1;
  char *head = c->out + n;
  n += FRAME_HEAD;
  n += put_field(c->out + n, ":method", opt.method);
  n += put_field(c->out + n, ":scheme", "https");
  n += put_field(c->out + n, ":authority", opt.name);
  n += put_field(c->out + n, ":path", opt.path);
  n += put_field(c->out + n, "user-agent", "loadgen");
  n += put_field(c->out + n, "accept", "application/json");
  if (token) {
    char *value = c->out + n + 64 + strlen(token); /* behind what is written here, within the capacity */
    sprintf(value, "Bearer %s", token);
    n += put_field(c->out + n, "authorization", value);
  }
  int length = (int)(c->out + n - head) - FRAME_HEAD;
  if (length > FRAME_MAX) die("a token too long for one frame");
  put_frame_head(head, length, HEADERS, END_STREAM | END_HEADERS, c->stream);
  c->out_length = n;
}

static void build_request(connection *c, const char *token) {
  int needed = (int)(1024 + strlen(opt.path) + strlen(opt.name) + 2 * (token ? strlen(token) : 0));
  if (needed > c->out_capacity) c->out = realloc(c->out, (size_t)(c->out_capacity = needed));
  if (opt.http2) build_request2(c, token);
  else build_request1(c, token);
  c->out_done = 0;
  c->upload_left = opt.upload;
}

static void start_request(connection *c, nanos asked) {
  const char *token = NULL;
  if (token_count) {
    if (opt.each_once && token_next >= token_count) {
      out_of_tokens = ending = true;
      return;
    }
    token = tokens[token_next++ % token_count];
  }
  build_request(c, token);
  c->asked = asked;
  c->active = now();
  if (!opt.http2) c->head_length = 0; /* there, part of a frame may be waiting */
  c->phase = HEAD;
  c->status = 0;
  c->state = SENDING;
}

static uint64_t due_at(nanos t) { return t <= schedule_start ? 0 : (uint64_t)((double)(t - schedule_start) * opt.rate / 1e9); }
static nanos time_of_request(uint64_t number) { return schedule_start + (nanos)((double)number * 1e9 / opt.rate); }

/* Gives an idle connection its next request: the next one at once, or with --rate the one that is due. */
static void next_request(connection *c) {
  if (ending) return;
  if (opt.rate == 0) start_request(c, now());
  else if (scheduled < due_at(now())) start_request(c, time_of_request(++scheduled));
  else if (!c->in_idle) {
    c->in_idle = true;
    c->next_idle = idle;
    idle = c;
  }
}

static void finish(connection *c) {
  finished++;
  statuses[c->status]++;
  if (measuring) {
    if (c->status >= 200 && c->status < 300) requests++;
    else others++;
    uint64_t us = (now() - c->asked) / 1000;
    histogram[bucket_of(us)]++;
    latencies++;
  }
  c->state = IDLE;
  if (!opt.new_connections && !c->server_closes) return;
  close_connection(c);
  if (ending) return;
  c->asked = now();
  open_connection(c);
}

/* The value of a field in a head that ends with an empty line; null when it is not there. */
static const char *field(const connection *c, const char *name) {
  size_t length = strlen(name);
  for (const char *line = strchr(c->head, '\n'); line; line = strchr(line, '\n')) {
    line++;
    if (strncasecmp(line, name, length) || line[length] != ':') continue;
    line += length + 1;
    return line + strspn(line, " ");
  }
  return NULL;
}

/* Reads the head into c. Returns the bytes that belong to it, 0 when it is not whole yet, -1 when it is no answer. */
static int read_head(connection *c, const char *data, int n) {
  int before = c->head_length, taken = n < HEAD_MAX - 1 - before ? n : HEAD_MAX - 1 - before;
  if (taken <= 0) return -1;
  memcpy(c->head + before, data, (size_t)taken);
  c->head_length += taken;
  c->head[c->head_length] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (!end) return taken < n ? -1 : 0;
  end[2] = 0; /* what follows is body */
  if (strncmp(c->head, "HTTP/1.1 ", 9)) return -1;
  c->status = atoi(c->head + 9);
  if (c->status < 200 || c->status > 599) return -1;
  const char *connection_field = field(c, "connection"), *coding = field(c, "transfer-encoding"), *length = field(c, "content-length");
  c->server_closes = connection_field && !strncasecmp(connection_field, "close", 5);
  if (coding && !strncasecmp(coding, "chunked", 7)) {
    c->phase = CHUNK_SIZE;
    c->left = 0;
  } else if (length) {
    c->phase = SIZED;
    c->left = atoll(length);
  } else return -1;
  return (int)(end + 4 - c->head) - before;
}

/* Takes bytes of an answer. Returns 1 when it is whole, 0 when more is to come, -1 when it is broken. */
static int take(connection *c, const char *data, int n) {
  if (measuring) bytes_in += (uint64_t)n;
  if (c->phase == HEAD) {
    int used = read_head(c, data, n);
    if (used <= 0) return used;
    data += used;
    n -= used;
    if (c->phase == SIZED && c->left == 0) return n ? -1 : 1;
  }
  while (n > 0) switch (c->phase) {
      case SIZED:
        c->left -= n;
        return c->left < 0 ? -1 : c->left == 0;
      case CHUNK_DATA: {
        int part = n < c->left ? n : (int)c->left;
        data += part;
        n -= part;
        if (!(c->left -= part)) c->phase = CHUNK_END;
        break;
      }
      case CHUNK_SIZE:
      case CHUNK_EXTENSION:
        if (*data == '\n') c->phase = c->left ? CHUNK_DATA : TRAILER;
        else if (c->phase == CHUNK_SIZE && isxdigit((unsigned char)*data)) c->left = c->left * 16 + (isdigit((unsigned char)*data) ? *data - '0' : (*data | 32) - 'a' + 10);
        else c->phase = CHUNK_EXTENSION;
        data++, n--;
        break;
      case CHUNK_END:
        if (*data == '\n') {
          c->phase = CHUNK_SIZE;
          c->left = 0;
        }
        data++, n--;
        break;
      case TRAILER:
        c->phase = *data == '\r' ? LAST_LF : TRAILER_LINE;
        data++, n--;
        break;
      case TRAILER_LINE:
        if (*data == '\n') c->phase = TRAILER;
        data++, n--;
        break;
      case LAST_LF: return n == 1 ? 1 : -1;
      case HEAD: return -1;
    }
  return 0;
}

/* What a status may be by itself in the table that everybody has (RFC 7541 appendix A, 8 to 14); any other one is 599 here: no success. */
static int status_of(const unsigned char *block, int n) {
  static const int KNOWN[] = {200, 204, 206, 304, 400, 404, 500};
  while (n > 0 && (*block & 0xe0) == 0x20) block++, n--; /* a change of the table's size */
  return n > 0 && *block >= 0x88 && *block <= 0x8e ? KNOWN[*block - 0x88] : 599;
}

static bool write_now(connection *c, const char *bytes, int n) { return SSL_write(c->ssl, bytes, n) == n; }

static int length_of(const unsigned char *head) { return head[0] << 16 | head[1] << 8 | head[2]; }

/* A whole frame. Returns what `take` does. */
static int take_frame(connection *c, int type, int flags, unsigned stream, const char *payload, int n) {
  char answer[FRAME_HEAD + 8];
  switch (type) {
    case SETTINGS:
      if (flags & ACK) return 0;
      return write_now(c, answer, put_frame_head(answer, 0, SETTINGS, ACK, 0)) ? 0 : -1;
    case PING:
      if (flags & ACK || n != 8) return 0;
      memcpy(answer + put_frame_head(answer, 8, PING, ACK, 0), payload, 8);
      return write_now(c, answer, sizeof answer) ? 0 : -1;
    case GOAWAY: c->server_closes = true; return 0;
    case RESET: return stream == c->stream ? -1 : 0;
    case HEADERS:
      if (stream != c->stream || !(flags & END_HEADERS)) return -1;
      if (flags & PADDED) return -1; /* nobody pads */
      if (flags & PRIORITISED) payload += 5, n -= 5;
      if (!c->status) c->status = status_of((const unsigned char *)payload, n);
      return !!(flags & END_STREAM);
    case DATA: return stream == c->stream && c->status ? !!(flags & END_STREAM) : -1;
    default: return 0;
  }
}

/* `take` for HTTP/2: gathers one frame after the other in `head`; the content of DATA is only counted. */
static int take2(connection *c, const char *data, int n) {
  const unsigned char *head = (const unsigned char *)c->head;
  if (measuring) bytes_in += (uint64_t)n;
  int whole = 0;
  while (n > 0) {
    bool in_head = c->head_length < FRAME_HEAD;
    int missing = (in_head ? FRAME_HEAD : FRAME_HEAD + length_of(head)) - c->head_length;
    int part = n < missing ? n : missing;
    if (in_head || head[3] != DATA) {
      if (c->head_length + part > HEAD_MAX) return -1;
      memcpy(c->head + c->head_length, data, (size_t)part);
    }
    c->head_length += part;
    data += part;
    n -= part;
    if (c->head_length < FRAME_HEAD || c->head_length < FRAME_HEAD + length_of(head)) continue;
    c->head_length = 0;
    unsigned stream = (unsigned)head[5] << 24 | (unsigned)head[6] << 16 | (unsigned)head[7] << 8 | head[8];
    int outcome = take_frame(c, head[3], head[4], stream, c->head + FRAME_HEAD, length_of(head));
    if (outcome < 0) return outcome;
    whole |= outcome;
  }
  return whole;
}

/* After a call of OpenSSL that did not succeed: the events to wait for, or 0 when the connection is lost. */
static int awaited(connection *c, int result) {
  switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ: return EPOLLIN;
    case SSL_ERROR_WANT_WRITE: return EPOLLIN | EPOLLOUT;
    default: return 0;
  }
}

/* Each step returns whether the connection can go on at once; otherwise epoll says when. */

static bool step_connecting(connection *c) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error) {
    fail(c, &errors.connect);
    return false;
  }
  c->state = HANDSHAKE;
  return true;
}

static bool step_handshake(connection *c) {
  int result = SSL_do_handshake(c->ssl);
  if (result != 1) {
    int events = awaited(c, result);
    if (events) listen_for(c, events);
    else fail(c, &errors.tls);
    return false;
  }
  if (opt.http2) {
    const unsigned char *chosen;
    unsigned length;
    SSL_get0_alpn_selected(c->ssl, &chosen, &length);
    if (length != 2) { /* a target that speaks HTTP/1.1 alone */
      fail(c, &errors.tls);
      return false;
    }
  }
  if (measuring) handshakes++;
  opening--;
  bool first = !c->counted_open;
  c->counted_open = true;
  opened += first;
  c->state = IDLE;
  listen_for(c, EPOLLIN);
  /* The time to connect belongs to a request that has a connection of its own. */
  if (opt.new_connections) start_request(c, c->asked);
  /* Servers give up connections that say nothing at first, and --rate may not need this one for long. */
  else if (first) start_request(c, now());
  else next_request(c);
  return c->state == SENDING;
}

/* Readable without a request: session tickets, frames of the connection, or the end. */
static bool step_idle(connection *c) {
  int result = SSL_read(c->ssl, received, BLOCK);
  if (result > 0 && opt.http2 && take2(c, received, result) == 0) return true;
  if (result > 0) fail(c, &errors.parse);
  else if (!awaited(c, result)) close_connection(c);
  return false;
}

static bool step_sending(connection *c) {
  while (c->out_done < c->out_length || c->upload_left > 0) {
    bool head = c->out_done < c->out_length;
    const char *data = head ? c->out + c->out_done : block;
    long length = head ? c->out_length - c->out_done : c->upload_left < BLOCK ? c->upload_left : BLOCK;
    int result = SSL_write(c->ssl, data, (int)length);
    if (result <= 0) {
      int events = awaited(c, result);
      if (events) listen_for(c, events | EPOLLOUT);
      else fail(c, &errors.io);
      return false;
    }
    if (head) c->out_done += result;
    else {
      c->upload_left -= result;
      if (measuring) bytes_out += (uint64_t)result;
    }
  }
  c->state = RECEIVING;
  listen_for(c, EPOLLIN);
  return true; /* the answer may be here already */
}

static bool step_receiving(connection *c) {
  int result = SSL_read(c->ssl, received, BLOCK);
  if (result <= 0) {
    int events = awaited(c, result);
    if (events) listen_for(c, events);
    else fail(c, &errors.io);
    return false;
  }
  switch (opt.http2 ? take2(c, received, result) : take(c, received, result)) {
    case 0: return true;
    case 1: break;
    default: fail(c, &errors.parse); return false;
  }
  finish(c);
  if (c->state == IDLE) next_request(c);
  return c->state == SENDING;
}

static void advance(connection *c) {
  for (bool more = true; more;) switch (c->state) {
      case CLOSED: return;
      case CONNECTING: more = step_connecting(c); break;
      case HANDSHAKE: more = step_handshake(c); break;
      case IDLE: more = step_idle(c); break;
      case SENDING: more = step_sending(c); break;
      case RECEIVING: more = step_receiving(c); break;
    }
}

/* ---------------------------------------------------------------- the run */

static void make_context(void) {
  int version = opt.tls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, version);
  SSL_CTX_set_max_proto_version(context, version);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  if (opt.http2) SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\2h2", 3);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* every handshake is a full one */
  /* The server is not verified: that would cost time here, on the core of the load, and nothing on that of the target. */
  SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
  if (SSL_CTX_use_certificate_chain_file(context, opt.cert) != 1) die(opt.cert);
  if (SSL_CTX_use_PrivateKey_file(context, opt.key, SSL_FILETYPE_PEM) != 1) die(opt.key);
}

static void allow_files(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/* With --rate: gives what is due to idle connections, and sets the timer for the next. */
static void follow_schedule(int timer) {
  nanos t = now();
  while (idle && scheduled < due_at(t)) {
    connection *c = idle;
    idle = c->next_idle;
    c->in_idle = false;
    if (c->state != IDLE) continue;
    next_request(c);
    advance(c);
  }
  nanos next = time_of_request(scheduled + 1);
  if (next <= t) next = t + 50000; /* all connections are busy: the request waits, and its latency counts */
  struct itimerspec when = {.it_value = {(time_t)(next / SECOND), (long)(next % SECOND)}};
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void end_slow_ones(void) {
  nanos t = now();
  for (int i = 0; i < next_to_open; i++)
    if (all[i].state != CLOSED && all[i].state != IDLE && t - all[i].active > (nanos)(opt.timeout * 1e9)) fail(&all[i], &errors.timeout);
}

static void print_result(snapshot from, snapshot to) {
  int open = 0;
  for (int i = 0; i < opt.connections; i++) open += all[i].state >= IDLE;
  printf("{\"seconds\":%.4f,\"requests\":%lu,\"others\":%lu,\"statuses\":{", (double)(to.at - from.at) / 1e9, requests, others);
  bool first = true;
  for (int i = 0; i < 1000; i++)
    if (statuses[i]) {
      printf("%s\"%d\":%lu", first ? "" : ",", i, statuses[i]);
      first = false;
    }
  printf("},\"errors\":{\"connect\":%lu,\"tls\":%lu,\"io\":%lu,\"parse\":%lu,\"timeout\":%lu},", errors.connect, errors.tls, errors.io, errors.parse, errors.timeout);
  printf("\"handshakes\":%lu,\"bytesIn\":%lu,\"bytesOut\":%lu,\"open\":%d,\"outOfTokens\":%s,\"tokensUsed\":%ld,", handshakes, bytes_in, bytes_out, open, out_of_tokens ? "true" : "false", token_next);
  printf("\"backlog\":%lu,", opt.rate > 0 && due_at(to.at) > scheduled ? due_at(to.at) - scheduled : 0);
  printf("\"p50Us\":%.0f,\"p99Us\":%.0f,\"p999Us\":%.0f,", percentile(50), percentile(99), percentile(99.9));
  printf("\"targetCpuUs\":%.1f,\"ownCpuUs\":%.1f,", (to.target_cpu - from.target_cpu) / 1e3, (to.own_cpu - from.own_cpu) / 1e3);
  printf("\"busyMs\":%.0f,\"stolenMs\":%.0f,", to.cores.busy - from.cores.busy, to.cores.stolen - from.cores.stolen);
  printf("\"loadBusyMs\":%.0f,\"loadStolenMs\":%.0f,", to.load_cores.busy - from.load_cores.busy, to.load_cores.stolen - from.load_cores.stolen);
  printf("\"rssKb\":%ld,\"pssKb\":%ld,\"peakKb\":%ld}\n", kb_of_all("status", "VmRSS:"), kb_of_all("smaps_rollup", "Pss:"), kb_of_all("status", "VmHWM:"));
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  read_tokens();
  signal(SIGPIPE, SIG_IGN);
  allow_files();
  make_context();
  memset(block, 'x', sizeof block);
  all = calloc((size_t)opt.connections, sizeof *all);
  for (int i = 0; i < opt.connections; i++) all[i].fd = -1;
  epoll = epoll_create1(EPOLL_CLOEXEC);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &tick);

  nanos begin = now(), looked_after = begin, warm_at = 0, end_at = 0;
  snapshot from = look(), to;
  schedule_start = UINT64_MAX;
  measuring = opt.requests > 0;
  struct epoll_event ready[256];
  while (!ending) {
    nanos t = now();
    open_more();
    if (!warm_at && (opened == opt.connections || t - begin > 300 * SECOND)) {
      schedule_start = t; /* before, there was nobody to send what was due */
      warm_at = t + (nanos)(opt.warmup * 1e9);
    }
    if (!measuring && warm_at && t >= warm_at) {
      measuring = true;
      from = look();
      end_at = from.at + (nanos)(opt.seconds * 1e9);
    }
    if (end_at && t >= end_at) break;
    if (opt.requests && finished >= (uint64_t)opt.requests) break;
    if (t - looked_after > SECOND / 10) {
      looked_after = t;
      end_slow_ones();
      reopen();
    }
    if (opt.rate > 0 && warm_at) follow_schedule(timer);
    int n = epoll_wait(epoll, ready, 256, 20);
    for (int i = 0; i < n; i++) {
      if (ready[i].data.ptr) advance(ready[i].data.ptr);
      else {
        uint64_t ticks;
        if (read(timer, &ticks, sizeof ticks) < 0) continue; /* another expiry was read already */
      }
    }
  }
  to = look();
  print_result(from, to);
  return 0;
}
