/* anthill-sum-job: pushes whole numbers to a table of its own beside a run, and says in the end
 * whether each row is minus the sum of what was acknowledged. SGD at rate 1 from rows of 0 makes
 * that exact: a push that is lost, or applied twice, shows. A row is
 *
 *     [0]  how often it was pushed to        [1]  a sum of weights that differ from push to push
 *
 * so that what is missing is known by number, and which ones by weight. What a server without a
 * backup loses at its death are the last pushes before it: the job notices the restart, finds which
 * they were, and says how long a time they span. One thread. */
#include <argp.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/rng.h"
#include "common/text.h"
#include "common/transport.h"
#include "ps/client/client.h"
#include "ps/run_arguments.h"

enum { DIM = 2, PUSH_KEYS_MAX = 4, IN_FLIGHT_MAX = 1024, WEIGHT_MAX = 50 };

/* One push's part in one row. */
struct update {
    double weight;
    uint64_t started_ns;
    bool unknown; /* nobody knows whether it was applied */
};

struct row {
    struct update *updates; /* in their order, but for those that were lost */
    uint32_t count, capacity;
};

struct push {
    uint64_t ticket, started_ns;
    uint32_t count;
    uint64_t keys[PUSH_KEYS_MAX];
    float grads[PUSH_KEYS_MAX][DIM];
};

struct options {
    struct run_arguments run;
    uint64_t pushes, seed, rate; /* pushes 0: until SIGTERM; rate 0: as fast as it goes */
    uint32_t keys, in_flight;
    double timeout_seconds;
    bool may_lose;
};

struct tally {
    uint64_t pushes, acknowledged, unknown; /* the last two, and those below, in updates of rows */
    uint64_t lost, twice, wrong, restarts;
    double loss_seconds, longest_wait_seconds;
};

struct job {
    struct options options;
    struct client *client;
    uint32_t table;
    struct row *rows;
    uint64_t *keys; /* of all rows, for pulls */
    float *values;
    struct push flight[IN_FLIGHT_MAX]; /* [first, next) modulo options.in_flight are under way */
    uint64_t first, next;
    struct rng rng;
    uint64_t restarts_seen, started_ns;
    struct tally tally;
};

static volatile sig_atomic_t asked_to_stop;

static void ask_to_stop(int signal_number)
{
    (void)signal_number;
    asked_to_stop = 1;
}

/* ---- pushes -------------------------------------------------------------------------------------
 */

static void remember(struct row *row, const struct update *update)
{
    if (row->count == row->capacity) {
        row->capacity = row->capacity == 0 ? 16 : 2 * row->capacity;
        row->updates = realloc(row->updates, row->capacity * sizeof *row->updates);
        CHECK(row->updates != NULL);
    }
    row->updates[row->count++] = *update;
}

static bool has_key(const struct push *push, uint64_t key)
{
    for (uint32_t i = 0; i < push->count; i++) {
        if (push->keys[i] == key) return true;
    }
    return false;
}

static enum status start_push(struct job *job, struct error *error)
{
    struct push *push = &job->flight[job->next % job->options.in_flight];
    uint32_t count = 1 + (uint32_t)rng_below(&job->rng, PUSH_KEYS_MAX);
    push->count = 0;
    while (push->count < count) {
        uint64_t key = rng_below(&job->rng, job->options.keys);
        if (has_key(push, key)) continue;
        push->grads[push->count][0] = 1.0f;
        push->grads[push->count][1] =
            (float)rng_below(&job->rng, 2 * WEIGHT_MAX + 1) - (float)WEIGHT_MAX;
        push->keys[push->count++] = key;
    }
    push->started_ns = clock_now_ns();
    enum status status = client_push(job->client, job->table, push->keys, push->count,
                                     &push->grads[0][0], 1.0f, &push->ticket, error);
    if (status != STATUS_OK) return status;
    job->next++;
    job->tally.pushes++;
    return STATUS_OK;
}

/* Waits for the push that has been under way for longest. */
static enum status finish_push(struct job *job, struct error *error)
{
    struct push *push = &job->flight[job->first++ % job->options.in_flight];
    enum status status = client_wait(job->client, push->ticket, error);
    uint64_t now_ns = clock_now_ns();
    double waited = (double)(now_ns - push->started_ns) * 1e-9;
    if (waited > job->tally.longest_wait_seconds) job->tally.longest_wait_seconds = waited;
    for (uint32_t i = 0; i < push->count; i++)
        remember(&job->rows[push->keys[i]], &(struct update){.weight = (double)push->grads[i][1],
                                                             .started_ns = push->started_ns,
                                                             .unknown = status != STATUS_OK});
    *(status == STATUS_OK ? &job->tally.acknowledged : &job->tally.unknown) += push->count;
    return status == STATUS_EXPIRED ? STATUS_OK : status;
}

/* ---- what rows ought to be ----------------------------------------------------------------------
 */

/* Whether `count` of the unknown updates from `from` on weigh `weight` together. */
static bool some_weigh(const struct row *row, uint32_t from, double count, double weight)
{
    if (count == 0) return weight == 0;
    for (uint32_t i = from; i < row->count; i++) {
        const struct update *update = &row->updates[i];
        if (update->unknown && some_weigh(row, i + 1, count - 1, weight - update->weight))
            return true;
    }
    return false;
}

/* When what a death took from rows was pushed. */
struct loss {
    uint64_t first_ns, last_ns;
};

/* Forgets the latest `count` updates in a row that weigh `weight`: those were lost. False: there
 * are none. */
static bool forget_lost(struct row *row, uint32_t count, double weight, struct loss *loss)
{
    for (uint32_t end = row->count; end >= count; end--) {
        double sum = 0;
        for (uint32_t i = end - count; i < end; i++)
            sum += row->updates[i].weight;
        if (sum != weight) continue;
        struct update *first = &row->updates[end - count];
        uint64_t last_ns = row->updates[end - 1].started_ns;
        if (loss->first_ns == 0 || first->started_ns < loss->first_ns)
            loss->first_ns = first->started_ns;
        if (last_ns > loss->last_ns) loss->last_ns = last_ns;
        memmove(first, &row->updates[end], (row->count - end) * sizeof *first);
        row->count -= count;
        return true;
    }
    return false;
}

static void check_row(struct job *job, uint64_t key, const float *values, struct loss *loss)
{
    struct row *row = &job->rows[key];
    double count = -(double)values[0], weight = -(double)values[1];
    double known_count = 0, known_weight = 0, unknown = 0;
    for (uint32_t i = 0; i < row->count; i++) {
        if (row->updates[i].unknown) {
            unknown++;
        } else {
            known_count++;
            known_weight += row->updates[i].weight;
        }
    }
    double missing = known_count - count;
    if (missing > 0) {
        job->tally.lost += (uint64_t)missing;
        bool explained = unknown == 0 && missing <= row->count &&
                         forget_lost(row, (uint32_t)missing, known_weight - weight, loss);
        job->tally.wrong += !explained;
    } else if (-missing > unknown) {
        job->tally.twice += (uint64_t)(-missing - unknown);
    } else if (!some_weigh(row, 0, -missing, weight - known_weight)) {
        job->tally.wrong++;
    }
}

/* Ends what is under way and compares all rows with what was acknowledged. */
static enum status check_rows(struct job *job, struct error *error)
{
    struct loss loss = {0};
    uint64_t ticket;
    enum status status = STATUS_OK;
    while (job->first < job->next && status == STATUS_OK)
        status = finish_push(job, error);
    if (status != STATUS_OK) return status;
    status = client_pull(job->client, job->table, job->keys, job->options.keys, job->values, true,
                         &ticket, error);
    if (status == STATUS_OK) status = client_wait(job->client, ticket, error);
    if (status != STATUS_OK) return status;
    for (uint32_t i = 0; i < job->options.keys; i++)
        check_row(job, i, &job->values[(size_t)i * DIM], &loss);
    double span = (double)(loss.last_ns - loss.first_ns) * 1e-9;
    if (span > job->tally.loss_seconds) job->tally.loss_seconds = span;
    return STATUS_OK;
}

/* ---- the job ------------------------------------------------------------------------------------
 */

static enum status open_table(struct job *job, struct error *error)
{
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 1.0f;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = (char *)"sum-job";
    spec.dim = DIM;
    spec.optimizer = &optimizer;
    enum status status = client_table(job->client, &spec, &job->table, error);
    job->rows = calloc(job->options.keys, sizeof *job->rows);
    job->keys = calloc(job->options.keys, sizeof *job->keys);
    job->values = calloc((size_t)job->options.keys * DIM, sizeof *job->values);
    CHECK(job->rows != NULL && job->keys != NULL && job->values != NULL);
    for (uint32_t i = 0; i < job->options.keys; i++)
        job->keys[i] = i;
    return status;
}

/* Lets messages come and go until the next push is due. */
static enum status keep_pace(struct job *job, struct error *error)
{
    if (job->options.rate == 0) return STATUS_OK;
    uint64_t due_ns = job->started_ns + job->tally.pushes * NS_PER_S / job->options.rate;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && clock_now_ns() < due_ns && !asked_to_stop) {
        struct timespec turn = {.tv_nsec = (long)NS_PER_MS};
        nanosleep(&turn, NULL);
        status = client_poll(job->client, error);
    }
    return status;
}

static enum status push_all(struct job *job, struct error *error)
{
    enum status status = STATUS_OK;
    job->started_ns = clock_now_ns();
    while (status == STATUS_OK && !asked_to_stop &&
           (job->options.pushes == 0 || job->tally.pushes < job->options.pushes)) {
        if (job->next - job->first == job->options.in_flight) status = finish_push(job, error);
        if (status == STATUS_OK) status = start_push(job, error);
        if (status == STATUS_OK) status = keep_pace(job, error);
        if (status != STATUS_OK || client_restarts(job->client) == job->restarts_seen) continue;
        job->restarts_seen = client_restarts(job->client);
        job->tally.restarts++;
        status = check_rows(job, error);
    }
    return status == STATUS_OK ? check_rows(job, error) : status;
}

static bool is_exact(const struct job *job)
{
    const struct tally *tally = &job->tally;
    return tally->wrong == 0 && tally->twice == 0 && (tally->lost == 0 || job->options.may_lose);
}

static void print_tally(const struct job *job, enum status status, const struct error *error)
{
    const struct tally *tally = &job->tally;
    struct text text = {0};
    text_add(&text,
             "{\"status\":\"%s\",\"pushes\":%llu,\"acknowledged\":%llu,\"unknown\":%llu,"
             "\"lost\":%llu,\"twice\":%llu,\"wrong\":%llu,\"restarts\":%llu,"
             "\"loss_seconds\":%.3f,\"seconds\":%.3f,\"longest_wait_seconds\":%.3f",
             status != STATUS_OK ? "failed"
             : is_exact(job)     ? "ok"
                                 : "inexact",
             (unsigned long long)tally->pushes, (unsigned long long)tally->acknowledged,
             (unsigned long long)tally->unknown, (unsigned long long)tally->lost,
             (unsigned long long)tally->twice, (unsigned long long)tally->wrong,
             (unsigned long long)tally->restarts, tally->loss_seconds,
             (double)(clock_now_ns() - job->started_ns) * 1e-9, tally->longest_wait_seconds);
    if (status != STATUS_OK) {
        text_add(&text, ",\"error\":");
        text_add_json_string(&text, error->text);
    }
    text_add(&text, "}");
    printf("%s\n", text.data);
    text_deinit(&text);
}

static enum status run(struct job *job, struct error *error)
{
    char *endpoint = NULL;
    enum status status = run_arguments_endpoint(&job->options.run, &endpoint, error);
    struct client_options options = {
        .coordinator = endpoint,
        .name = "sum-job",
        .timeout_ns = (uint64_t)(job->options.timeout_seconds * 1e9),
    };
    if (status == STATUS_OK) status = client_open(&job->client, &options, error);
    if (status == STATUS_OK) status = open_table(job, error);
    if (status == STATUS_OK) status = push_all(job, error);
    client_close(job->client);
    transport_shutdown();
    free(endpoint);
    return status;
}

/* ---- arguments ----------------------------------------------------------------------------------
 */

enum { KEY_PUSHES = 256, KEY_KEYS, KEY_SEED, KEY_IN_FLIGHT, KEY_RATE, KEY_TIMEOUT, KEY_MAY_LOSE };

static uint64_t number(const char *argument, uint64_t least, uint64_t most,
                       struct argp_state *state)
{
    char *end = NULL;
    uint64_t value = strtoull(argument, &end, 10);
    if (end == argument || *end != '\0' || value < least || value > most)
        argp_error(state, "%s: expected %llu to %llu", argument, (unsigned long long)least,
                   (unsigned long long)most);
    return value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->run;
        return 0;
    case KEY_PUSHES:
        options->pushes = number(argument, 0, UINT32_MAX, state);
        return 0;
    case KEY_KEYS:
        options->keys = (uint32_t)number(argument, PUSH_KEYS_MAX, 65536, state);
        return 0;
    case KEY_SEED:
        options->seed = number(argument, 0, UINT32_MAX, state);
        return 0;
    case KEY_IN_FLIGHT:
        options->in_flight = (uint32_t)number(argument, 1, IN_FLIGHT_MAX, state);
        return 0;
    case KEY_RATE:
        options->rate = number(argument, 0, UINT32_MAX, state);
        return 0;
    case KEY_TIMEOUT:
        options->timeout_seconds = (double)number(argument, 1, 3600, state);
        return 0;
    case KEY_MAY_LOSE:
        options->may_lose = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    {"pushes", KEY_PUSHES, "N", 0, "end after so many (default 0: at SIGTERM)", 0},
    {"keys", KEY_KEYS, "N", 0, "rows of the table (default 4096)", 0},
    {"seed", KEY_SEED, "N", 0, "of keys and weights (default 1)", 0},
    {"in-flight", KEY_IN_FLIGHT, "N", 0, "pushes under way at once (default 128)", 0},
    {"rate", KEY_RATE, "N", 0, "pushes a second (default 0: as many as can be)", 0},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "of every wait (default 60)", 0},
    {"may-lose", KEY_MAY_LOSE, NULL, 0,
     "servers have no backups: the last pushes before a restart may be missing", 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .children = run_arguments_argp,
    .args_doc = "RUN_DIR",
    .doc = "Pushes whole numbers beside a run, and checks that rows are minus the sums of what was "
           "acknowledged. Prints one JSON object; counts but `pushes` are in updates of rows.\v"
           "Exit codes: 0 they are; 65 they are not; 69 and others: a wait ended with an error.",
};

int main(int argc, char **argv)
{
    static struct job job = {
        .options = {.keys = 4096, .seed = 1, .in_flight = 128, .timeout_seconds = 60}};
    struct error error = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &job.options);
    signal(SIGTERM, ask_to_stop);
    signal(SIGPIPE, SIG_IGN);
    job.rng = rng_make(job.options.seed);
    job.started_ns = clock_now_ns();
    enum status status = run(&job, &error);
    print_tally(&job, status, &error);
    for (uint32_t i = 0; job.rows != NULL && i < job.options.keys; i++)
        free(job.rows[i].updates);
    free(job.rows);
    free(job.keys);
    free(job.values);
    if (status != STATUS_OK) return status_exit_code(status);
    return is_exact(&job) ? 0 : 65;
}
