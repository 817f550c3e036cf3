/* A streaming server whose schedule is known, light enough to share two cores with the client that is judged by it.

       cc -O2 -o truth_server benchmarks/truth_server.c && ./truth_server TTFT_MS GAP_MS

   Speaks what pytest_llmperf.load.reference_server.server speaks, without its traps: /v1/completions and /v1/chat/completions as
   event streams, /v1/models, /health, /truth, /truth/reset. Token k is due at (request fully read) + ttft + k gap on an
   absolute schedule; /truth tells when each was handed to the kernel, in seconds of CLOCK_MONOTONIC. Writes
   {"port": N} when it listens and ends when its standard input does. One thread, epoll and a timerfd. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FDS = 16384, MOST_TOKENS = 4096, AT_ONCE = 64 };

struct request { int connection, tokens, sent; double received_s; double *sent_s; };
struct connection {
    int number, open, chat, usage, prompt_tokens;
    char *in; size_t in_size, in_room;
    char *out; size_t out_size, out_room;      /* what the kernel did not take yet */
    long request;                              /* of the stream that runs, or -1 */
};
struct due { double at_s; int fd; long request; };
struct queue { struct due *ring; size_t head, size, room; };

static struct connection connections[MOST_FDS];
static struct request *requests; static long n_requests, room_requests;
static struct queue firsts, nexts;             /* each in the order of time, because ttft and gap are the same for all */
static double ttft_s, gap_s; static int poller, timer, accepted, active, peak;

static double now_s(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }

static void *grown(void *old, size_t *room, size_t wanted, size_t each) {
    if (wanted <= *room) return old;
    while (*room < wanted) *room = *room ? 2 * *room : 64;
    void *more = realloc(old, *room * each);
    if (!more) { perror("realloc"); exit(1); }
    return more;
}

static void push(struct queue *q, struct due one) {
    if (q->head + q->size >= q->room) {
        memmove(q->ring, q->ring + q->head, q->size * sizeof one); q->head = 0;
        q->ring = grown(q->ring, &q->room, 2 * (q->size + 1), sizeof one);
    }
    q->ring[q->head + q->size++] = one;
}

static void arm(void) {
    double at = 0;
    if (firsts.size) at = firsts.ring[firsts.head].at_s;
    if (nexts.size && (!at || nexts.ring[nexts.head].at_s < at)) at = nexts.ring[nexts.head].at_s;
    struct itimerspec when = {0};
    when.it_value.tv_sec = (time_t)at; when.it_value.tv_nsec = (long)((at - (time_t)at) * 1e9);
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void end(int fd) {
    struct connection *c = &connections[fd];
    if (!c->open) return;
    if (c->request >= 0) active--;
    c->open = 0; c->request = -1; c->in_size = c->out_size = 0;
    close(fd);
}

static void send_all(int fd, const char *data, size_t size) {
    struct connection *c = &connections[fd];
    if (!c->out_size) {
        ssize_t done = send(fd, data, size, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN) { end(fd); return; }
        if (done > 0) { data += done; size -= done; }
        if (!size) return;
    }
    c->out = grown(c->out, &c->out_room, c->out_size + size, 1);
    memcpy(c->out + c->out_size, data, size); c->out_size += size;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

static void flush_out(int fd) {
    struct connection *c = &connections[fd];
    ssize_t done = send(fd, c->out, c->out_size, MSG_NOSIGNAL);
    if (done < 0 && errno != EAGAIN) { end(fd); return; }
    if (done > 0) { memmove(c->out, c->out + done, c->out_size - done); c->out_size -= done; }
    if (!c->out_size) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
    }
}

static void whole(int fd, const char *type, const char *body, size_t size) {
    char head[256];
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, size);
    send_all(fd, head, n); send_all(fd, body, size);
}

/* One event as one HTTP chunk, behind what is already in `to`. */
static size_t event(char *to, const char *data) {
    size_t size = strlen(data) + strlen("data: \n\n");
    return (size_t)sprintf(to, "%zx\r\ndata: %s\n\n\r\n", size, data);
}

static void token(struct due *one) {
    struct connection *c = &connections[one->fd];
    if (!c->open || c->request != one->request) return;      /* its client has gone */
    struct request *r = &requests[one->request];
    char bytes[2048], data[512]; size_t size = 0;
    int last = r->sent + 1 == r->tokens;
    const char *reason = last ? "\"length\"" : "null";
    if (c->chat && r->sent == 0)
        size += event(bytes, "{\"id\": \"truth\", \"object\": \"chat.completion.chunk\", \"created\": 0, \"model\": \"reference\", "
                             "\"choices\": [{\"index\": 0, \"finish_reason\": null, \"delta\": {\"role\": \"assistant\", \"content\": \"\"}}]}");
    snprintf(data, sizeof data, c->chat
             ? "{\"id\": \"truth\", \"object\": \"chat.completion.chunk\", \"created\": 0, \"model\": \"reference\", "
               "\"choices\": [{\"index\": 0, \"finish_reason\": %s, \"delta\": {\"content\": \" tok\"}}]}"
             : "{\"id\": \"truth\", \"object\": \"text_completion\", \"created\": 0, \"model\": \"reference\", "
               "\"choices\": [{\"index\": 0, \"finish_reason\": %s, \"text\": \" tok\"}]}", reason);
    size += event(bytes + size, data);
    if (last) {
        if (c->usage) {
            snprintf(data, sizeof data, "{\"id\": \"truth\", \"object\": \"%s\", \"created\": 0, \"model\": \"reference\", \"choices\": [], "
                     "\"usage\": {\"prompt_tokens\": %d, \"completion_tokens\": %d, \"total_tokens\": %d}}",
                     c->chat ? "chat.completion.chunk" : "text_completion", c->prompt_tokens, r->tokens, c->prompt_tokens + r->tokens);
            size += event(bytes + size, data);
        }
        size += event(bytes + size, "[DONE]");
        memcpy(bytes + size, "0\r\n\r\n", 5); size += 5;
        active--; c->request = -1;
    } else push(&nexts, (struct due){r->received_s + ttft_s + (r->sent + 1) * gap_s, one->fd, one->request});
    send_all(one->fd, bytes, size);
    r->sent_s[r->sent++] = now_s();
}

static int number_after(const char *body, const char *name, int otherwise) {
    const char *at = strstr(body, name);
    if (!at || !(at = strchr(at + strlen(name), ':'))) return otherwise;
    int value = atoi(at + 1);
    return value > 0 ? value : otherwise;
}

static void begin(int fd, int chat, const char *body, size_t size) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct connection *c = &connections[fd];
    int tokens = number_after(body, "\"max_completion_tokens\"", number_after(body, "\"max_tokens\"", 16));
    if (tokens > MOST_TOKENS) tokens = MOST_TOKENS;
    size_t room = room_requests;
    requests = grown(requests, &room, n_requests + 1, sizeof *requests); room_requests = room;
    double *sent_s = malloc(tokens * sizeof *sent_s);
    if (!sent_s) { perror("malloc"); exit(1); }
    double received_s = now_s();
    requests[n_requests] = (struct request){c->number, tokens, 0, received_s, sent_s};
    c->chat = chat; c->usage = strstr(body, "\"include_usage\"") != NULL; c->prompt_tokens = (int)(size / 4);
    c->request = n_requests;
    if (++active > peak) peak = active;
    push(&firsts, (struct due){received_s + ttft_s, fd, n_requests++});
    send_all(fd, head, sizeof head - 1);
}

static void tell(int fd) {
    size_t room = 1 << 16; long n; char *text; FILE *to = open_memstream(&text, &room);
    struct timespec cpu; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    fprintf(to, "{\"connections\": %d, \"active\": %d, \"peak\": %d, \"cpu_s\": %.6f, \"requests\": [",
            accepted, active, peak, cpu.tv_sec + cpu.tv_nsec * 1e-9);
    for (n = 0; n < n_requests; n++) {
        struct request *r = &requests[n];
        fprintf(to, "%s{\"id\": \"\", \"connection\": %d, \"received_s\": %.7f, \"tokens_s\": [", n ? "," : "", r->connection, r->received_s);
        for (int i = 0; i < r->sent; i++) fprintf(to, "%s%.7f", i ? "," : "", r->sent_s[i]);
        fputs("], \"counts\": [", to);
        for (int i = 0; i < r->sent; i++) fputs(i ? ",1" : "1", to);
        fputs("]}", to);
    }
    fputs("]}", to); fclose(to);
    whole(fd, "application/json", text, room); free(text);
}

static void forget(void) {
    if (active) return;                        /* not while streams run */
    for (long n = 0; n < n_requests; n++) free(requests[n].sent_s);
    n_requests = 0; peak = 0;
}

static void answer(int fd, char *line, char *body, size_t size) {
    static const char models[] = "{\"object\": \"list\", \"data\": [{\"id\": \"reference\", \"object\": \"model\", \"created\": 0, \"owned_by\": \"truth\"}]}";
    if (!strncmp(line, "POST /v1/completions ", 21)) begin(fd, 0, body, size);
    else if (!strncmp(line, "POST /v1/chat/completions ", 26)) begin(fd, 1, body, size);
    else if (!strncmp(line, "GET /v1/models ", 15)) whole(fd, "application/json", models, sizeof models - 1);
    else if (!strncmp(line, "GET /health ", 12)) whole(fd, "text/plain", "", 0);
    else if (!strncmp(line, "GET /truth ", 11)) tell(fd);
    else if (!strncmp(line, "POST /truth/reset ", 18)) { forget(); whole(fd, "application/json", "{}", 2); }
    else {
        static const char none[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        send_all(fd, none, sizeof none - 1);
    }
}

static void read_in(int fd) {
    struct connection *c = &connections[fd];
    for (;;) {
        c->in = grown(c->in, &c->in_room, c->in_size + 65536, 1);
        ssize_t got = recv(fd, c->in + c->in_size, 65535, 0);
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0) { end(fd); return; }
        c->in_size += got;
        if (got < 65535) break;
    }
    while (c->open && c->in_size && c->request < 0) {
        c->in[c->in_size] = 0;
        char *head_end = strstr(c->in, "\r\n\r\n");
        if (!head_end) return;
        char *length = strcasestr(c->in, "\r\ncontent-length:");
        size_t size = length && length < head_end ? (size_t)atol(length + 17) : 0;
        size_t head = head_end + 4 - c->in;
        if (c->in_size < head + size) return;
        char kept = c->in[head + size]; c->in[head + size] = 0;
        answer(fd, c->in, c->in + head, size);
        if (!c->open) return;
        c->in[head + size] = kept;
        memmove(c->in, c->in + head + size, c->in_size - head - size); c->in_size -= head + size;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "usage: truth_server TTFT_MS GAP_MS\n"); return 2; }
    ttft_s = atof(argv[1]) / 1e3; gap_s = atof(argv[2]) / 1e3;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof where;
    if (bind(listener, (struct sockaddr *)&where, size) || listen(listener, 4096)) { perror("listen"); return 1; }
    getsockname(listener, (struct sockaddr *)&where, &size);
    printf("{\"port\": %d}\n", ntohs(where.sin_port)); fflush(stdout);
    poller = epoll_create1(0); timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int watched[] = {listener, timer, 0};
    for (int i = 0; i < 3; i++) {
        struct epoll_event one = {.events = EPOLLIN, .data.fd = watched[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, watched[i], &one);
    }
    for (;;) {
        struct epoll_event events[256];
        double now = now_s();
        /* A part of what is due, then a look at the sockets: a request must not wait behind all tokens. */
        for (int i = 0; i < AT_ONCE; i++) {
            struct queue *q = firsts.size ? &firsts : &nexts;
            if (firsts.size && nexts.size && nexts.ring[nexts.head].at_s < firsts.ring[firsts.head].at_s) q = &nexts;
            if (!q->size || q->ring[q->head].at_s > now) break;
            struct due one = q->ring[q->head++]; q->size--;
            token(&one);
        }
        arm();
        int waits = (firsts.size && firsts.ring[firsts.head].at_s <= now) || (nexts.size && nexts.ring[nexts.head].at_s <= now) ? 0 : -1;
        int count = epoll_wait(poller, events, 256, waits);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd; char some[4096];
            if (fd == 0) { if (read(0, some, sizeof some) <= 0) return 0; }
            else if (fd == timer) { if (read(timer, some, 8) < 0) continue; }
            else if (fd == listener) {
                int one = 1, fresh;
                while ((fresh = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (fresh >= MOST_FDS) { close(fresh); continue; }
                    setsockopt(fresh, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    struct connection *c = &connections[fresh];
                    c->open = 1; c->number = ++accepted; c->request = -1; c->in_size = c->out_size = 0;
                    struct epoll_event event = {.events = EPOLLIN, .data.fd = fresh};
                    epoll_ctl(poller, EPOLL_CTL_ADD, fresh, &event);
                }
            } else {
                if (events[i].events & EPOLLOUT) flush_out(fd);
                if (connections[fd].open && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_in(fd);
            }
        }
    }
}
