/* The monitoring endpoint, asked by hand over a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/metrics.h"
#include "common/stats_server.h"

static int dial(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(descriptor, (struct sockaddr *)&address, sizeof address), 0);
    return descriptor;
}

/* The whole answer to "METHOD PATH"; static storage. */
static const char *ask(const struct stats_server *server, const char *request)
{
    static char answer[65536];
    int descriptor = dial(stats_server_port(server));
    char text[256];
    int bytes = snprintf(text, sizeof text,
                         "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                         request);
    assert_int_equal(write(descriptor, text, (size_t)bytes), bytes);
    size_t used = 0;
    for (ssize_t got; (got = read(descriptor, answer + used, sizeof answer - 1 - used)) > 0;) {
        used += (size_t)got;
    }
    answer[used] = '\0';
    close(descriptor);
    return answer;
}

static void expect(const struct stats_server *server, const char *request, int code,
                   const char *text)
{
    const char *answer = ask(server, request);
    char first[32];
    snprintf(first, sizeof first, "HTTP/1.1 %d", code);
    if (strncmp(answer, first, strlen(first)) != 0) fail_msg("%s: %s", request, answer);
    if (strstr(answer, text) == NULL) fail_msg("%s: %s", request, answer);
}

static char *members(void *context)
{
    (void)context;
    return strdup("\"epoch\":3");
}

static bool flag(void *context)
{
    return *(bool *)context;
}

static struct stats_server *start(const struct stats_handlers *handlers)
{
    struct stats_server *server;
    struct error error = {0};
    if (stats_server_start(&server, "127.0.0.1", 0, handlers, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    assert_true(stats_server_port(server) != 0);
    return server;
}

static void each_path_answers(void **state)
{
    (void)state;
    metric_add(metrics_counter("anthill_test_served_total", NULL, "Served."), 7);
    bool ready = false;
    struct stats_handlers handlers = {.stats_json = members, .ready = flag, .context = &ready};
    struct stats_server *server = start(&handlers);
    expect(server, "GET /metrics", 200, "\nanthill_test_served_total 7\n");
    expect(server, "GET /metrics", 200, "text/plain; version=0.0.4");
    expect(server, "GET /stats", 200, "\"metrics\":{");
    expect(server, "GET /stats", 200, "\"anthill_test_served_total\":7");
    expect(server, "GET /stats", 200, "},\"epoch\":3}\n");
    expect(server, "GET /stats", 200, "\"program\":\"stats_server_test\"");
    expect(server, "GET /stats?x=1", 200, "application/json");
    expect(server, "GET /healthz", 200, "ok");
    expect(server, "GET /readyz", 503, "not yet");
    ready = true;
    expect(server, "GET /readyz", 200, "ok");
    stats_server_stop(server);
}

static void head_has_no_body(void **state)
{
    (void)state;
    struct stats_server *server = start(NULL);
    expect(server, "HEAD /stats", 200, "Content-Length: ");
    assert_null(strstr(ask(server, "HEAD /stats"), "metrics"));
    stats_server_stop(server);
}

static void other_paths_and_methods_are_refused(void **state)
{
    (void)state;
    struct stats_server *server = start(NULL);
    expect(server, "GET /", 404, "/metrics /stats /healthz /readyz");
    expect(server, "GET /../etc/passwd", 404, "not found");
    expect(server, "POST /stats", 405, "Allow: GET, HEAD");
    expect(server, "DELETE /metrics", 405, "only GET");
    stats_server_stop(server);
}

static void nonsense_and_silence_hurt_nobody(void **state)
{
    (void)state;
    struct stats_server *server = start(NULL);
    int silent[80]; /* more than are let in at once */
    for (unsigned i = 0; i < 80; i++) {
        silent[i] = dial(stats_server_port(server));
    }
    for (unsigned i = 0; i < 80; i++) {
        close(silent[i]);
    }
    int noisy = dial(stats_server_port(server));
    char junk[1000];
    memset(junk, 0xee, sizeof junk);
    assert_int_equal(write(noisy, junk, sizeof junk), sizeof junk);
    close(noisy);
    expect(server, "GET /healthz", 200, "ok");
    stats_server_stop(server);
}

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    struct stats_server *first = start(NULL);
    struct stats_server *second;
    struct error error = {0};
    uint16_t port = stats_server_port(first);
    assert_int_equal(stats_server_start(&second, "127.0.0.1", port, NULL, &error),
                     STATUS_UNAVAILABLE);
    assert_null(second);
    char expected[64];
    snprintf(expected, sizeof expected, "http://127.0.0.1:%u", port);
    assert_non_null(strstr(error.text, expected));
    assert_int_equal(stats_server_start(&second, "nowhere", 0, NULL, &error), STATUS_USAGE);
    stats_server_stop(first);
    stats_server_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_path_answers),
        cmocka_unit_test(head_has_no_body),
        cmocka_unit_test(other_paths_and_methods_are_refused),
        cmocka_unit_test(nonsense_and_silence_hurt_nobody),
        cmocka_unit_test(a_port_in_use_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
