/* Sockets: what arrives, what is refused, and that nobody else notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/transport.h"

#define DEADLINE_NS (20 * NS_PER_S)

static char folder[] = "/tmp/anthill-transport-XXXXXX";

static struct message map_request(uint64_t peer, uint64_t request)
{
    Anthill__MapRequest body = ANTHILL__MAP_REQUEST__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = request;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_MAP_REQUEST;
    envelope.map_request = &body;
    struct message message;
    assert_int_equal(wire_pack(&message, peer, &envelope, NULL, 0), STATUS_OK);
    return message;
}

static struct message receive(struct transport *transport)
{
    struct message message;
    uint64_t end = clock_now_ns() + DEADLINE_NS;
    while (transport_receive(transport, &message) != STATUS_OK) {
        assert_true(clock_now_ns() < end);
        transport_poll(&transport, 1, NS_PER_S / 10);
    }
    return message;
}

static void listen_and_connect(const char *endpoint, struct transport **server,
                               struct transport **client)
{
    struct error error;
    assert_int_equal(transport_listen(server, endpoint, &error), STATUS_OK);
    assert_int_equal(transport_connect(client, transport_endpoint(*server), &error), STATUS_OK);
}

static atomic_uint released;

static void count_release(void *data, void *hint)
{
    (void)hint;
    free(data);
    atomic_fetch_add(&released, 1);
}

static void exchange(const char *endpoint)
{
    struct transport *server;
    struct transport *client;
    listen_and_connect(endpoint, &server, &client);
    atomic_store(&released, 0);
    const size_t sizes[] = {0, 1, 100, 4096, 1u << 20};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct message sent = map_request(0, 100 + i);
        sent.payload_count = 2;
        for (unsigned j = 0; j < 2; j++) {
            sent.payload[j] = (struct frame){
                .data = malloc(sizes[i] + 1), .bytes = sizes[i], .release = count_release};
            memset(sent.payload[j].data, (int)(i * 2 + j), sizes[i]);
        }
        assert_int_equal(transport_send(client, &sent), STATUS_OK);
        assert_null(sent.header.data);

        struct message got = receive(server);
        assert_true(got.peer != 0);
        assert_int_equal(got.envelope->request, 100 + i);
        assert_int_equal(got.payload_count, 2);
        for (unsigned j = 0; j < 2; j++) {
            assert_int_equal(got.payload[j].bytes, sizes[i]);
            const uint8_t *bytes = got.payload[j].data;
            for (size_t k = 0; k < sizes[i]; k++) {
                if (bytes[k] != i * 2 + j) fail();
            }
        }
        struct message reply = map_request(got.peer, 200 + i);
        wire_message_deinit(&got);
        assert_int_equal(transport_send(server, &reply), STATUS_OK);
        got = receive(client);
        assert_int_equal(got.envelope->request, 200 + i);
        assert_int_equal(got.peer, 0);
        wire_message_deinit(&got);
    }
    transport_close(client);
    transport_close(server);
    transport_shutdown();
    assert_int_equal(atomic_load(&released), 10);
}

static void messages_cross_tcp_in_both_directions(void **state)
{
    (void)state;
    exchange("tcp://127.0.0.1:*");
}

static void messages_cross_ipc_in_both_directions(void **state)
{
    (void)state;
    char endpoint[256];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/exchange", folder);
    exchange(endpoint);
}

static void a_host_name_is_looked_up_and_kept_in_the_endpoint(void **state)
{
    (void)state;
    struct transport *server;
    struct error error;
    assert_int_equal(transport_listen(&server, "tcp://localhost:0", &error), STATUS_OK);
    assert_int_equal(strncmp(transport_endpoint(server), "tcp://localhost:", 16), 0);
    assert_true(atoi(transport_endpoint(server) + 16) > 0);
    transport_close(server);
}

static void messages_wait_for_a_peer_that_comes_later(void **state)
{
    (void)state;
    char endpoint[256];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/later", folder);
    struct transport *client;
    struct transport *server;
    struct error error;
    assert_int_equal(transport_connect(&client, endpoint, &error), STATUS_OK);
    struct message message = map_request(0, 1);
    assert_int_equal(transport_send(client, &message), STATUS_OK);
    assert_int_equal(transport_receive(client, &message), STATUS_BUSY);
    assert_int_equal(transport_listen(&server, endpoint, &error), STATUS_OK);
    message = receive(server);
    assert_int_equal(message.envelope->request, 1);
    wire_message_deinit(&message);
    transport_close(client);
    transport_close(server);
}

static void a_queue_without_a_reader_is_bounded(void **state)
{
    (void)state;
    char endpoint[256];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/nobody", folder);
    struct transport *client;
    struct error error;
    assert_int_equal(transport_connect(&client, endpoint, &error), STATUS_OK);
    enum status status = STATUS_OK;
    for (unsigned i = 0; status == STATUS_OK && i < 10000; i++) {
        struct message message = map_request(0, i);
        status = transport_send(client, &message);
        assert_true((message.header.data == NULL) == (status == STATUS_OK));
        wire_message_deinit(&message);
    }
    assert_int_equal(status, STATUS_BUSY);
    transport_close(client);
}

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    struct transport *first;
    struct transport *second;
    struct error error;
    assert_int_equal(transport_listen(&first, "tcp://127.0.0.1:*", &error), STATUS_OK);
    assert_int_equal(transport_listen(&second, transport_endpoint(first), &error),
                     STATUS_UNAVAILABLE);
    assert_null(second);
    char expected[600];
    snprintf(expected, sizeof expected, "%s: address already in use", transport_endpoint(first));
    assert_string_equal(error.text, expected);
    transport_close(first);
}

static void bad_endpoints_are_refused_with_a_reason(void **state)
{
    (void)state;
    char deep[300];
    snprintf(deep, sizeof deep, "ipc:///tmp/%0200d/socket", 1);
    char missing[300];
    snprintf(missing, sizeof missing, "ipc://%s/no/such/folder", folder);
    const struct {
        const char *endpoint;
        enum status status;
        const char *text;
    } cases[] = {
        {"127.0.0.1:5555", STATUS_USAGE, "expected"},
        {"ipc://", STATUS_USAGE, "expected"},
        {"tcp://127.0.0.1", STATUS_USAGE, "expected"},
        {"tcp://127.0.0.1:99999", STATUS_USAGE, "expected"},
        {"tcp://192.0.2.1:*", STATUS_USAGE, "this machine"},
        {deep, STATUS_USAGE, "shorter folder"},
        {missing, STATUS_NOT_FOUND, "no such folder"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct transport *transport;
        struct error error;
        assert_int_equal(transport_listen(&transport, cases[i].endpoint, &error), cases[i].status);
        assert_non_null(strstr(error.text, cases[i].text));
        assert_non_null(strstr(error.text, cases[i].endpoint));
        assert_null(transport);
    }
    struct transport *transport;
    struct error error;
    assert_int_equal(transport_connect(&transport, deep, &error), STATUS_USAGE);
    assert_int_equal(transport_connect(&transport, "tcp://127.0.0.1:0x", &error), STATUS_USAGE);
}

static void a_stale_socket_file_is_taken_over(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/stale", folder);
    int raw = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(raw, (struct sockaddr *)&address, sizeof address), 0);
    close(raw); /* the file stays, as after SIGKILL */
    assert_int_equal(access(address.sun_path, F_OK), 0);
    char endpoint[256];
    snprintf(endpoint, sizeof endpoint, "ipc://%s", address.sun_path);
    exchange(endpoint);
}

/* A ZMTP 3 peer by hand, as anyone could write one. source: rfc.zeromq.org/spec/23 */
static int raw_peer(const struct transport *server, const char *identity, size_t identity_bytes)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)atoi(strrchr(transport_endpoint(server), ':') + 1));
    int raw = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(raw, (struct sockaddr *)&address, sizeof address), 0);
    uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    assert_int_equal(write(raw, greeting, sizeof greeting), sizeof greeting);
    uint8_t ready[128];
    size_t used = 2;
    memcpy(ready + used, "\5READY\13Socket-Type\0\0\0\6DEALER\10Identity\0\0\0", 40);
    used += 40;
    ready[used++] = (uint8_t)identity_bytes;
    memcpy(ready + used, identity, identity_bytes);
    used += identity_bytes;
    ready[0] = 4;
    ready[1] = (uint8_t)(used - 2);
    assert_int_equal(write(raw, ready, used), used);
    uint8_t answer[66]; /* its greeting and the head of its READY: only then may messages follow */
    assert_int_equal(recv(raw, answer, sizeof answer, MSG_WAITALL), sizeof answer);
    uint8_t rest[256];
    assert_int_equal(recv(raw, rest, answer[65], MSG_WAITALL), answer[65]);
    return raw;
}

static void raw_frame(int raw, bool more, const void *data, size_t bytes)
{
    uint8_t head[2] = {more ? 1 : 0, (uint8_t)bytes};
    assert_int_equal(write(raw, head, 2), 2);
    if (bytes > 0) assert_int_equal(write(raw, data, bytes), bytes);
}

static void wait_for_malformed(struct transport *server, uint64_t count)
{
    uint64_t end = clock_now_ns() + DEADLINE_NS;
    struct message message;
    while (transport_malformed_count(server) < count) {
        assert_true(clock_now_ns() < end);
        assert_int_equal(transport_receive(server, &message), STATUS_BUSY);
        transport_poll(&server, 1, NS_PER_S / 10);
    }
    assert_int_equal(transport_malformed_count(server), count);
}

static void malformed_messages_are_counted_and_others_go_on(void **state)
{
    (void)state;
    struct transport *server;
    struct transport *client;
    listen_and_connect("tcp://127.0.0.1:*", &server, &client);

    int raw = raw_peer(server, "", 0);
    struct message sound = map_request(0, 8);
    raw_frame(raw, false, "garbage", 7);
    raw_frame(raw, false, "", 0);
    for (unsigned i = 0; i < 5; i++) { /* a sound header with too many payload frames */
        raw_frame(raw, i < 4, sound.header.data, sound.header.bytes);
    }
    wait_for_malformed(server, 3);

    int named = raw_peer(server, "me", 2); /* a sound message of a peer that names itself */
    raw_frame(named, false, sound.header.data, sound.header.bytes);
    wait_for_malformed(server, 4);

    raw_frame(raw, false, sound.header.data, sound.header.bytes);
    struct message got = receive(server);
    assert_int_equal(got.envelope->request, 8);
    wire_message_deinit(&got);

    int noise = raw_peer(server, "", 0); /* not even ZMTP from here on: libzmq hangs up */
    char junk[4096];
    memset(junk, 0xee, sizeof junk);
    assert_int_equal(write(noise, junk, sizeof junk), sizeof junk);

    assert_int_equal(transport_send(client, &sound), STATUS_OK);
    got = receive(server);
    assert_int_equal(got.envelope->request, 8);
    wire_message_deinit(&got);
    close(raw);
    close(named);
    close(noise);
    transport_close(client);
    transport_close(server);
}

static void a_reply_to_a_peer_that_has_gone_is_refused(void **state)
{
    (void)state;
    struct transport *server;
    struct transport *client;
    listen_and_connect("tcp://127.0.0.1:*", &server, &client);
    struct message message = map_request(0, 1);
    assert_int_equal(transport_send(client, &message), STATUS_OK);
    struct message got = receive(server);
    transport_close(client);
    uint64_t end = clock_now_ns() + DEADLINE_NS;
    enum status status;
    do {
        assert_true(clock_now_ns() < end);
        message = map_request(got.peer, 2);
        transport_poll(&server, 1, NS_PER_MS);
        status = transport_send(server, &message);
        wire_message_deinit(&message);
    } while (status != STATUS_UNAVAILABLE);
    wire_message_deinit(&got);
    transport_close(server);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    transport_shutdown();
    return file_dir_remove(folder, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_cross_tcp_in_both_directions),
        cmocka_unit_test(messages_cross_ipc_in_both_directions),
        cmocka_unit_test(a_host_name_is_looked_up_and_kept_in_the_endpoint),
        cmocka_unit_test(messages_wait_for_a_peer_that_comes_later),
        cmocka_unit_test(a_queue_without_a_reader_is_bounded),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(bad_endpoints_are_refused_with_a_reason),
        cmocka_unit_test(a_stale_socket_file_is_taken_over),
        cmocka_unit_test(malformed_messages_are_counted_and_others_go_on),
        cmocka_unit_test(a_reply_to_a_peer_that_has_gone_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
