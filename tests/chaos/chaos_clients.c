/* Many clients of one server at once: all are connected before any of them begins, and each pushes
 * to rows of its own and pulls them, which must be exact. The server and the coordinator are
 * started with a low soft limit of open files, as shells give it: they raise it themselves. */
#include <argp.h>
#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos_command.h"
#include "chaos_run.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/transport.h"
#include "ps/client/client.h"

/* A context of libzmq has room for 1,023 sockets, and a client has two. */
enum { PER_PROCESS = 100, CLIENTS_MAX = 10000, KEYS = 4, DIM = 4, ROUNDS = 20, LIMIT_LOW = 64 };

#define TIMEOUT_NS (120 * NS_PER_S)

struct member {
    struct client *client;
    uint32_t table;
    uint64_t ticket, keys[KEYS];
    float rows[KEYS][DIM];
};

/* In memory that all processes share. */
struct crowd {
    unsigned count;
    atomic_uint connected, ended, failed;
    _Atomic uint64_t longest_ns;
};

/* ---- one process of clients ---------------------------------------------------------------------
 */

static enum status open_member(struct member *member, const char *endpoint, unsigned number,
                               struct error *error)
{
    char name[32];
    snprintf(name, sizeof name, "client-%u", number);
    struct client_options options = {
        .coordinator = endpoint, .name = name, .timeout_ns = TIMEOUT_NS};
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 1.0f;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = (char *)"crowd";
    spec.dim = DIM;
    spec.optimizer = &optimizer;
    for (unsigned i = 0; i < KEYS; i++)
        member->keys[i] = (uint64_t)number * KEYS + i;
    enum status status = client_open(&member->client, &options, error);
    return status == STATUS_OK ? client_table(member->client, &spec, &member->table, error)
                               : status;
}

static enum status await_all(struct member *members, unsigned count, struct crowd *crowd,
                             struct error *error)
{
    enum status status = STATUS_OK;
    uint64_t begun_ns = clock_now_ns();
    for (unsigned i = 0; i < count && status == STATUS_OK; i++)
        status = client_wait(members[i].client, members[i].ticket, error);
    uint64_t took_ns = clock_now_ns() - begun_ns;
    uint64_t longest_ns = atomic_load(&crowd->longest_ns);
    while (took_ns > longest_ns &&
           !atomic_compare_exchange_weak(&crowd->longest_ns, &longest_ns, took_ns)) {
    }
    return status;
}

static enum status one_round(struct member *members, unsigned count, struct crowd *crowd,
                             unsigned round, struct error *error)
{
    static float grads[KEYS][DIM];
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < KEYS * DIM; i++)
        (&grads[0][0])[i] = (float)(round + i);
    for (unsigned i = 0; i < count && status == STATUS_OK; i++)
        status = client_push(members[i].client, members[i].table, members[i].keys, KEYS,
                             &grads[0][0], 1.0f, &members[i].ticket, error);
    if (status == STATUS_OK) status = await_all(members, count, crowd, error);
    for (unsigned i = 0; i < count && status == STATUS_OK; i++)
        status = client_pull(members[i].client, members[i].table, members[i].keys, KEYS,
                             &members[i].rows[0][0], true, &members[i].ticket, error);
    return status == STATUS_OK ? await_all(members, count, crowd, error) : status;
}

static enum status check(const struct member *members, unsigned count, struct error *error)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < KEYS * DIM; j++) {
            float sum = (float)(ROUNDS * (ROUNDS - 1) / 2 + ROUNDS * j);
            float value = (&members[i].rows[0][0])[j];
            if (value != -sum)
                return error_set(error, STATUS_CORRUPT, "key %llu element %u is %g; %g is expected",
                                 (unsigned long long)members[i].keys[j / DIM], j % DIM,
                                 (double)value, (double)-sum);
        }
    }
    return STATUS_OK;
}

static int be_clients(const char *endpoint, struct crowd *crowd, unsigned first, unsigned count)
{
    static struct member members[PER_PROCESS];
    struct error error = {0};
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < count && status == STATUS_OK; i++) {
        status = open_member(&members[i], endpoint, first + i, &error);
        if (status == STATUS_OK) atomic_fetch_add(&crowd->connected, 1);
    }
    uint64_t deadline_ns = clock_now_ns() + TIMEOUT_NS;
    while (status == STATUS_OK && atomic_load(&crowd->connected) < crowd->count) {
        chaos_nap(0.02);
        if (clock_now_ns() > deadline_ns)
            status = error_set(&error, STATUS_UNAVAILABLE, "not all clients are connected");
    }
    for (unsigned round = 0; round < ROUNDS && status == STATUS_OK; round++)
        status = one_round(members, count, crowd, round, &error);
    if (status == STATUS_OK) status = check(members, count, &error);
    if (status != STATUS_OK) {
        fprintf(stderr, "clients from %u: %s\n", first, error.text);
        atomic_fetch_add(&crowd->failed, 1);
    }
    /* All stay until the last one is done. */
    atomic_fetch_add(&crowd->ended, count);
    deadline_ns = clock_now_ns() + TIMEOUT_NS;
    while (atomic_load(&crowd->ended) < crowd->count && clock_now_ns() < deadline_ns)
        chaos_nap(0.02);
    for (unsigned i = 0; i < count; i++)
        client_close(members[i].client);
    transport_shutdown();
    return status == STATUS_OK ? 0 : 1;
}

/* ---- the run beside it --------------------------------------------------------------------------
 */

static void limit_files(rlim_t soft)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static unsigned open_files(struct chaos_run *run, const char *role)
{
    char path[64];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)chaos_run_pid(run, role));
    DIR *folder = opendir(path);
    if (folder == NULL) return 0;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 2;
}

static void connect_crowd(struct chaos_run *run, struct crowd *crowd)
{
    char path[256];
    char *endpoint = NULL;
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/coordinator.endpoint", run->run_dir);
    if (file_read_all(path, 4096, &endpoint, &bytes, NULL) != STATUS_OK)
        chaos_fail(run, "%s cannot be read", path);
    endpoint[strcspn(endpoint, "\n")] = '\0';
    unsigned processes = 0, files = 0;
    for (unsigned first = 0; first < crowd->count; first += PER_PROCESS, processes++) {
        unsigned left = crowd->count - first;
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(be_clients(endpoint, crowd, first, left < PER_PROCESS ? left : PER_PROCESS));
    }
    unsigned bad = 0;
    for (unsigned ended = 0; ended < processes;) {
        int wait_status;
        pid_t pid = waitpid(0, &wait_status, WNOHANG);
        unsigned now = open_files(run, "server-0");
        if (now > files) files = now;
        if (pid > 0) {
            ended++;
            bad += !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0;
        } else {
            chaos_nap(0.1);
        }
    }
    unsigned connected = atomic_load(&crowd->connected);
    if (bad > 0)
        chaos_fail(run, "%u processes of clients failed; %u clients connected", bad, connected);
    chaos_say(run,
              "%u clients at once, %u rounds; the server had %u open files; longest wait %.3f s",
              connected, ROUNDS, files, (double)atomic_load(&crowd->longest_ns) * 1e-9);
    free(endpoint);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    unsigned *count = state->input;
    if (key != 'n') return ARGP_ERR_UNKNOWN;
    *count = (unsigned)strtoul(argument, NULL, 10);
    if (*count < 1 || *count > CLIENTS_MAX)
        argp_error(state, "%s: expected 1 to %d", argument, CLIENTS_MAX);
    return 0;
}

static const struct argp_option argp_options[] = {
    {"count", 'n', "N", 0, "clients (default 1000)", 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Connects many clients to one server at once; each pushes and pulls.",
};

int chaos_clients(int argc, char **argv)
{
    unsigned count = 1000;
    argp_parse(&argp, argc, argv, 0, NULL, &count);
    struct crowd *crowd =
        mmap(NULL, sizeof *crowd, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(crowd != MAP_FAILED);
    crowd->count = count;
    static struct chaos_run run;
    struct chaos_options options = {
        .seed = 1, .servers = 1, .workers = 1, .replicas = 1, .exact = true};
    limit_files(LIMIT_LOW);
    chaos_run_start(&run, &options);
    limit_files(RLIM_INFINITY);
    connect_crowd(&run, crowd);
    chaos_run_finish(&run);
    chaos_run_deinit(&run);
    munmap(crowd, sizeof *crowd);
    return 0;
}
