/* The only file that knows ZeroMQ. A listening transport is a ROUTER, a connecting one a DEALER.
 * On the wire a message is its header frame and then its payload frames; between a ROUTER and its
 * caller libzmq puts the peer's identity in front. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <zmq.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/transport.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#define ENDPOINT_BYTES       512
#define HEARTBEAT_MS         1000
#define HEARTBEAT_TIMEOUT_MS 3000
#define LINGER_MS            200
#define RECONNECT_MS         50
#define RECONNECT_MAX_MS     1000
/* Whole messages that wait for one peer. Requests under way are bounded by their senders, so this
 * is only reached by a peer that does not read. */
#define QUEUE_MESSAGES_MAX 1024
/* Below this a copy is cheaper than libzmq's bookkeeping of a foreign buffer. */
#define COPY_BYTES_MAX 512
/* Malformed messages dropped by one receive: a peer that sends nothing else cannot hold the
 * thread. */
#define MALFORMED_AT_ONCE_MAX 64

/* libzmq names a peer that names no identity itself by a zero byte and four more. */
#define IDENTITY_BYTES 5
#define PEER_BIT       (UINT64_C(1) << 32)

struct transport {
    void *socket;
    bool listens;
    uint64_t malformed_count;
    char endpoint[ENDPOINT_BYTES];
};

static pthread_mutex_t context_lock = PTHREAD_MUTEX_INITIALIZER;
static void *context;

static void *context_get(void)
{
    pthread_mutex_lock(&context_lock);
    if (context == NULL) context = zmq_ctx_new();
    CHECK(context != NULL);
    void *result = context;
    pthread_mutex_unlock(&context_lock);
    return result;
}

void transport_shutdown(void)
{
    pthread_mutex_lock(&context_lock);
    void *old = context;
    context = NULL;
    pthread_mutex_unlock(&context_lock);
    if (old == NULL) return;
    while (zmq_ctx_term(old) != 0) {
        CHECK(zmq_errno() == EINTR);
    }
}

static void set_option(void *socket, int option, int value)
{
    CHECK(zmq_setsockopt(socket, option, &value, sizeof value) == 0);
}

static enum status transport_create(struct transport **transport, bool listens,
                                    const char *endpoint, struct error *error)
{
    struct transport *created = calloc(1, sizeof *created);
    if (created == NULL) return error_set(error, STATUS_NOMEM, "no memory for a socket");
    created->listens = listens;
    created->socket = zmq_socket(context_get(), listens ? ZMQ_ROUTER : ZMQ_DEALER);
    if (created->socket == NULL) {
        enum status status = error_set_errno(error, STATUS_NOMEM, zmq_errno(), "%s", endpoint);
        free(created);
        return status;
    }
    void *socket = created->socket;
    set_option(socket, ZMQ_LINGER, LINGER_MS);
    set_option(socket, ZMQ_SNDHWM, QUEUE_MESSAGES_MAX);
    set_option(socket, ZMQ_RCVHWM, QUEUE_MESSAGES_MAX);
    set_option(socket, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS);
    set_option(socket, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS);
    set_option(socket, ZMQ_HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS);
    set_option(socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    set_option(socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    if (listens) set_option(socket, ZMQ_ROUTER_MANDATORY, 1);
    if (strchr(endpoint, '[') != NULL) set_option(socket, ZMQ_IPV6, 1);
    int64_t bytes_max = WIRE_FRAME_BYTES_MAX;
    CHECK(zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0);
    *transport = created;
    return STATUS_OK;
}

/* libzmq takes "7x" for 7 and notices some bad ports only when it connects. */
static bool port_is_valid(const char *port, bool listens)
{
    if (listens && strcmp(port, "*") == 0) return true;
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    return port[0] >= '0' && port[0] <= '9' && *end == '\0' && number <= 65535 &&
           (listens || number > 0);
}

static enum status endpoint_check(const char *endpoint, bool listens, struct error *error)
{
    struct sockaddr_un address;
    if (strlen(endpoint) >= ENDPOINT_BYTES) {
        return error_set(error, STATUS_USAGE, "%s: endpoint is too long", endpoint);
    }
    const char *port = strrchr(endpoint, ':');
    if (strncmp(endpoint, "tcp://", 6) == 0 && port > endpoint + 6 &&
        port_is_valid(port + 1, listens)) {
        return STATUS_OK;
    }
    if (strncmp(endpoint, "ipc://", 6) != 0 || endpoint[6] == '\0') {
        return error_set(error, STATUS_USAGE,
                         "\"%s\" is no endpoint; tcp://HOST:PORT or ipc://PATH expected", endpoint);
    }
    if (strlen(endpoint + 6) >= sizeof address.sun_path) {
        return error_set(
            error, STATUS_USAGE,
            "%s: a path of %zu bytes; the system allows %zu for a socket, so a shorter "
            "folder is needed",
            endpoint, strlen(endpoint + 6), sizeof address.sun_path - 1);
    }
    return STATUS_OK;
}

static enum status endpoint_error(const char *endpoint, int errno_value, struct error *error)
{
    switch (errno_value) {
    case EADDRINUSE:
        return error_set(error, STATUS_UNAVAILABLE, "%s: address already in use", endpoint);
    case EINVAL:
    case ENODEV:
    case EADDRNOTAVAIL:
    case EPROTONOSUPPORT:
        return error_set(error, STATUS_USAGE, "%s: no address of this machine", endpoint);
    case EACCES:
    case EPERM:
        return error_set_errno(error, STATUS_DENIED, errno_value, "%s", endpoint);
    case ENOENT:
        return error_set(error, STATUS_NOT_FOUND, "%s: there is no such folder", endpoint);
    default:
        return error_set(error, STATUS_IO, "%s: %s", endpoint, zmq_strerror(errno_value));
    }
}

/* libzmq binds to numbers and interfaces, not to host names: a name is looked up here. False when
 * `endpoint` can be bound to as it is. */
static bool bind_address(const char *endpoint, char host[ENDPOINT_BYTES],
                         char numeric[ENDPOINT_BYTES])
{
    if (strncmp(endpoint, "tcp://", 6) != 0) return false;
    const char *port = strrchr(endpoint + 6, ':');
    snprintf(host, ENDPOINT_BYTES, "%.*s", (int)(port - endpoint - 6), endpoint + 6);
    struct in_addr number;
    if (strcmp(host, "*") == 0 || host[0] == '[' || inet_pton(AF_INET, host, &number) == 1) {
        return false;
    }
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0) return false;
    char address[INET_ADDRSTRLEN];
    const struct sockaddr_in *first = (const struct sockaddr_in *)(const void *)found->ai_addr;
    bool done = inet_ntop(AF_INET, &first->sin_addr, address, sizeof address) != NULL;
    freeaddrinfo(found);
    if (done) snprintf(numeric, ENDPOINT_BYTES, "tcp://%s%s", address, port);
    return done;
}

enum status transport_listen(struct transport **transport, const char *endpoint,
                             struct error *error)
{
    *transport = NULL;
    enum status status = endpoint_check(endpoint, true, error);
    if (status != STATUS_OK) return status;
    struct transport *created = NULL;
    status = transport_create(&created, true, endpoint, error);
    if (created == NULL) return status;
    char host[ENDPOINT_BYTES];
    char numeric[ENDPOINT_BYTES];
    bool named = bind_address(endpoint, host, numeric);
    if (zmq_bind(created->socket, named ? numeric : endpoint) != 0) {
        status = endpoint_error(endpoint, zmq_errno(), error);
        transport_close(created);
        return status;
    }
    char bound[ENDPOINT_BYTES];
    size_t bytes = sizeof bound;
    CHECK(zmq_getsockopt(created->socket, ZMQ_LAST_ENDPOINT, bound, &bytes) == 0);
    int written;
    if (named) {
        const char *port = strrchr(bound, ':');
        written = snprintf(created->endpoint, ENDPOINT_BYTES, "tcp://%s%s", host, port);
    } else {
        written = snprintf(created->endpoint, ENDPOINT_BYTES, "%s", bound);
    }
    CHECK(written > 0 && written < ENDPOINT_BYTES);
    *transport = created;
    return STATUS_OK;
}

enum status transport_connect(struct transport **transport, const char *endpoint,
                              struct error *error)
{
    *transport = NULL;
    enum status status = endpoint_check(endpoint, false, error);
    if (status != STATUS_OK) return status;
    struct transport *created = NULL;
    status = transport_create(&created, false, endpoint, error);
    if (created == NULL) return status;
    if (zmq_connect(created->socket, endpoint) != 0) {
        status = endpoint_error(endpoint, zmq_errno(), error);
        transport_close(created);
        return status;
    }
    snprintf(created->endpoint, ENDPOINT_BYTES, "%s", endpoint);
    *transport = created;
    return STATUS_OK;
}

void transport_close(struct transport *transport)
{
    if (transport == NULL) return;
    CHECK(zmq_close(transport->socket) == 0);
    free(transport);
}

const char *transport_endpoint(const struct transport *transport)
{
    return transport->endpoint;
}

uint64_t transport_malformed_count(const struct transport *transport)
{
    return transport->malformed_count;
}

static uint64_t peer_of_identity(const uint8_t *identity)
{
    return PEER_BIT | (uint64_t)identity[1] << 24 | (uint64_t)identity[2] << 16 |
           (uint64_t)identity[3] << 8 | identity[4];
}

static void identity_of_peer(uint64_t peer, uint8_t identity[IDENTITY_BYTES])
{
    identity[0] = 0;
    identity[1] = (uint8_t)(peer >> 24);
    identity[2] = (uint8_t)(peer >> 16);
    identity[3] = (uint8_t)(peer >> 8);
    identity[4] = (uint8_t)peer;
}

/* STATUS_BUSY: the queue is full. STATUS_UNAVAILABLE: nobody has this identity. Parts after the
 * first never wait: libzmq counts whole messages and drops the rest when the peer has just gone. */
static enum status send_copy(void *socket, const void *data, size_t bytes, int flags)
{
    zmq_msg_t part;
    CHECK(zmq_msg_init_size(&part, bytes) == 0);
    if (bytes != 0) memcpy(zmq_msg_data(&part), data, bytes);
    while (zmq_msg_send(&part, socket, flags) < 0) {
        int failed = zmq_errno();
        if (failed == EINTR) continue;
        CHECK(failed == EAGAIN || failed == EHOSTUNREACH);
        zmq_msg_close(&part);
        return failed == EAGAIN ? STATUS_BUSY : STATUS_UNAVAILABLE;
    }
    return STATUS_OK;
}

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer does not see how libzmq hands memory from thread to thread: say it here. */
struct sent {
    struct frame frame;
};

static void release_sent(void *data, void *hint)
{
    struct sent *sent = hint;
    __tsan_acquire(data);
    if (sent->frame.release != NULL) sent->frame.release(data, sent->frame.hint);
    free(sent);
}

static void init_borrowing(zmq_msg_t *part, struct frame *frame)
{
    struct sent *sent = malloc(sizeof *sent);
    CHECK(sent != NULL);
    sent->frame = *frame;
    __tsan_release(frame->data);
    CHECK(zmq_msg_init_data(part, frame->data, frame->bytes, release_sent, sent) == 0);
}
#else
static void init_borrowing(zmq_msg_t *part, struct frame *frame)
{
    CHECK(zmq_msg_init_data(part, frame->data, frame->bytes, frame->release, frame->hint) == 0);
}
#endif

/* The frame's memory goes to libzmq, whose thread releases it once it is sent. */
static void send_payload(void *socket, struct frame *frame, int flags)
{
    if (frame->bytes <= COPY_BYTES_MAX) {
        (void)!send_copy(socket, frame->data, frame->bytes, flags);
        frame_release(frame);
        return;
    }
    zmq_msg_t part;
    init_borrowing(&part, frame);
    *frame = (struct frame){0};
    while (zmq_msg_send(&part, socket, flags) < 0) {
        if (zmq_errno() == EINTR) continue;
        zmq_msg_close(&part);
        return;
    }
}

enum status transport_send(struct transport *transport, struct message *message)
{
    void *socket = transport->socket;
    int more = message->payload_count > 0 ? ZMQ_SNDMORE : 0;
    enum status status;
    if (transport->listens) {
        CHECK(message->peer & PEER_BIT);
        uint8_t identity[IDENTITY_BYTES];
        identity_of_peer(message->peer, identity);
        status = send_copy(socket, identity, sizeof identity, ZMQ_DONTWAIT | ZMQ_SNDMORE);
        if (status == STATUS_OK) {
            (void)!send_copy(socket, message->header.data, message->header.bytes, more);
        }
    } else {
        status =
            send_copy(socket, message->header.data, message->header.bytes, ZMQ_DONTWAIT | more);
    }
    if (status == STATUS_BUSY) return status;
    for (unsigned i = 0; status == STATUS_OK && i < message->payload_count; i++) {
        more = i + 1 < message->payload_count ? ZMQ_SNDMORE : 0;
        send_payload(socket, &message->payload[i], more);
    }
    wire_message_deinit(message);
    return status;
}

static void release_received(void *data, void *hint)
{
    (void)data;
    zmq_msg_close(hint);
    free(hint);
}

/* The next part as a frame that owns it. False: nothing has arrived. */
static bool receive_part(void *socket, int flags, struct frame *frame, bool *more)
{
    zmq_msg_t *part = malloc(sizeof *part);
    CHECK(part != NULL);
    zmq_msg_init(part);
    while (zmq_msg_recv(part, socket, flags) < 0) {
        if (zmq_errno() == EINTR) continue;
        CHECK(zmq_errno() == EAGAIN);
        zmq_msg_close(part);
        free(part);
        return false;
    }
    *more = zmq_msg_more(part) != 0;
    *frame = (struct frame){.data = zmq_msg_data(part),
                            .bytes = zmq_msg_size(part),
                            .release = release_received,
                            .hint = part};
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(frame->data);
#endif
    return true;
}

/* STATUS_CORRUPT: a message has been dropped. */
static enum status receive_one(struct transport *transport, struct message *message)
{
    void *socket = transport->socket;
    bool sound = true;
    *message = (struct message){0};
    bool more;
    if (transport->listens) {
        struct frame identity;
        if (!receive_part(socket, ZMQ_DONTWAIT, &identity, &more)) return STATUS_BUSY;
        const uint8_t *bytes = identity.data;
        sound = more && identity.bytes == IDENTITY_BYTES && bytes[0] == 0;
        if (sound) message->peer = peer_of_identity(bytes);
        frame_release(&identity);
        if (more) CHECK(receive_part(socket, 0, &message->header, &more));
    } else if (!receive_part(socket, ZMQ_DONTWAIT, &message->header, &more)) {
        return STATUS_BUSY;
    }
    while (more) {
        struct frame frame;
        CHECK(receive_part(socket, 0, &frame, &more));
        if (message->payload_count < WIRE_PAYLOADS_MAX) {
            message->payload[message->payload_count++] = frame;
        } else {
            frame_release(&frame);
            sound = false;
        }
    }
    if (sound && wire_unpack(message, NULL) == STATUS_OK) return STATUS_OK;
    wire_message_deinit(message);
    transport->malformed_count++;
    return STATUS_CORRUPT;
}

enum status transport_receive(struct transport *transport, struct message *message)
{
    for (unsigned i = 0; i < MALFORMED_AT_ONCE_MAX; i++) {
        enum status status = receive_one(transport, message);
        if (status != STATUS_CORRUPT) return status;
    }
    return STATUS_BUSY;
}

bool transport_poll(struct transport *const *transports, unsigned count, uint64_t timeout_ns)
{
    zmq_pollitem_t few[16];
    zmq_pollitem_t *items = few;
    if (count > sizeof few / sizeof few[0]) {
        items = malloc(count * sizeof *items);
        CHECK(items != NULL);
    }
    for (unsigned i = 0; i < count; i++) {
        items[i] = (zmq_pollitem_t){.socket = transports[i]->socket, .events = ZMQ_POLLIN};
    }
    uint64_t timeout_ms = timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);
    if (timeout_ms > 1000 * 3600) timeout_ms = 1000 * 3600;
    int ready = zmq_poll(items, (int)count, (long)timeout_ms);
    CHECK(ready >= 0 || zmq_errno() == EINTR);
    if (items != few) free(items);
    return ready > 0;
}
