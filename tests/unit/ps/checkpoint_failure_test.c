/* Every system call on a checkpoint's files fails in turn: that checkpoint is given up whole, the
 * last good one stays, and the one after it is good. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "ps/shard_checkpoint.h"
#include "ps/table_spec.h"
#include "tests/unit/ps/checkpoint_fixture.h"

#define KEYS     700u
#define AWAIT_NS (30 * NS_PER_S)

/* ---- the calls, by the linker's --wrap ---- */

static struct {
    bool armed;
    uint64_t calls, failing; /* the call of that number fails; UINT64_MAX: none */
    const char *name;        /* of the call that failed */
} faults;

static bool fails(const char *name)
{
    if (!faults.armed || faults.calls++ != faults.failing) return false;
    faults.name = name;
    errno = ENOSPC;
    return true;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails("open") ? -1 : __real_open(path, flags, mode);
}

/* A file is closed even if closing it says that writing had failed. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    bool failed = fails("close");
    int result = __real_close(fd);
    if (failed) errno = ENOSPC;
    return failed ? -1 : result;
}

#define WRAP(result, name, parameters, arguments)                                                  \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        return fails(#name) ? -1 : __real_##name arguments;                                        \
    }

WRAP(ssize_t, write, (int fd, const void *data, size_t bytes), (fd, data, bytes))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(off_t, lseek, (int fd, off_t offset, int whence), (fd, offset, whence))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat2, (int from_dir, const char *from, int to_dir, const char *to, unsigned flags),
     (from_dir, from, to_dir, to, flags))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, rmdir, (const char *path), (path))

/* Not one of the calls on files: fails while it is armed. */
static bool memory_fails;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return memory_fails ? NULL : __real_malloc(bytes);
}

/* ---- a shard that writes ---- */

struct writing {
    char dir[64];
    struct shard_fixture shard;
    struct checkpoint_base last; /* the last one that is published */
    uint64_t step;
    struct rng rng;
};

static int set_up(void **state)
{
    struct writing *writing = calloc(1, sizeof *writing);
    if (writing == NULL) return -1;
    strcpy(writing->dir, "/tmp/anthill-failure-XXXXXX");
    if (mkdtemp(writing->dir) == NULL) return -1;
    struct spec_fixture specs[2];
    fixture_sparse(&specs[0], "nodes", 4, ADAGRAD);
    fixture_dense(&specs[1], "weights", ADAM);
    fixture_tensor(&specs[1], "layers.0", 200, 100, ANTHILL__INIT_KIND__INIT_UNIFORM, 0);
    const struct spec_fixture *pointers[] = {&specs[0], &specs[1]};
    shard_fixture_init(&writing->shard);
    fixture_hello(&writing->shard, 9, pointers, 2);
    writing->rng = rng_make(4);
    *state = writing;
    return 0;
}

static int tear_down(void **state)
{
    struct writing *writing = *state;
    struct error error;
    shard_fixture_deinit(&writing->shard);
    enum status status = file_dir_remove(writing->dir, &error);
    free(writing);
    return status == STATUS_OK ? 0 : -1;
}

static void train(struct writing *writing, unsigned pushes)
{
    struct error error = {0};
    struct table *table = shard_table(writing->shard.shard, 0);
    for (unsigned i = 0; i < pushes; i++) {
        float grad[4] = {rng_float(&writing->rng), 1, 2, 3};
        uint64_t key = rng_below(&writing->rng, KEYS);
        if (rng_below(&writing->rng, 8) == 0) (void)table_delete(table, &key, 1);
        if (table_push(table, &key, 1, grad, 1.0f, &error) != STATUS_OK) fail_msg("%s", error.text);
    }
}

/* As a server and the coordinator do it; a failed step is abandoned. */
static enum status write_step(struct writing *writing, struct error *error)
{
    struct checkpoint_part part;
    struct checkpoint_base base = writing->last;
    uint64_t step = ++writing->step;
    writing->last = (struct checkpoint_base){0};
    enum status status = fixture_write_part(writing->shard.shard, writing->dir, step, 0, base, NULL,
                                            NULL, &part, error);
    if (status == STATUS_OK) {
        status = checkpoint_publish(writing->dir, step, &part, 1, error);
    }
    if (status == STATUS_OK) {
        writing->last = (struct checkpoint_base){step, part.checksum};
        checkpoint_prune(writing->dir, 1, 0, step);
    }
    return status;
}

static void step_path(const struct writing *writing, uint64_t step, const char *suffix,
                      char path[FILE_PATH_BYTES])
{
    assert_int_equal(file_path(path, NULL, "%s/step-%u%s", writing->dir, (unsigned)step, suffix),
                     STATUS_OK);
}

/* The step has the rows that the table has now. */
static void assert_current(const struct writing *writing, uint64_t step)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    struct shard_fixture read;
    step_path(writing, step, "", path);
    shard_fixture_init(&read);
    if (checkpoint_read(read.shard, path, NULL, 0, &error) != STATUS_OK) fail_msg("%s", error.text);
    const struct table *left = shard_table(writing->shard.shard, 0);
    const struct table *right = shard_table(read.shard, 0);
    uint64_t keys[KEYS];
    assert_int_equal(table_row_count(left), table_row_count(right));
    fixture_keys(left, keys);
    for (uint64_t i = 0; i < table_row_count(left); i++) {
        assert_memory_equal(fixture_stored(left, keys[i]), fixture_stored(right, keys[i]),
                            table_stored_floats(left, keys[i]) * sizeof(float));
    }
    shard_fixture_deinit(&read);
}

static void arm(uint64_t failing)
{
    faults.calls = 0;
    faults.name = NULL;
    faults.failing = failing;
    faults.armed = true;
}

static void a_checkpoint_with_a_failing_call_is_given_up_and_the_last_one_stays(void **state)
{
    struct writing *writing = *state;
    struct error error = {0};
    unsigned failed = 0, done = 0;
    train(writing, 1000);
    assert_int_equal(write_step(writing, &error), STATUS_OK);
    for (uint64_t call = 0;; call++) {
        uint64_t good = writing->step;
        char path[FILE_PATH_BYTES];
        train(writing, 20);
        arm(call);
        error = (struct error){0};
        enum status status = write_step(writing, &error);
        faults.armed = false;
        if (faults.name == NULL) { /* all calls have failed once */
            assert_int_equal(status, STATUS_OK);
            break;
        }
        /* Some calls may fail without harm: a file that was only read is closed, what is old is
         * not removed yet. */
        if (status == STATUS_OK) {
            done++;
            good = writing->step;
            assert_current(writing, good);
        } else {
            failed++;
            if (strlen(error.text) == 0) fail_msg("%s failed without a word", faults.name);
            assert_int_equal(checkpoint_latest(writing->dir), good);
            step_path(writing, writing->step, "", path);
            assert_false(file_exists(path));
        }
        writing->last = (struct checkpoint_base){0}; /* the chain stays short */
        assert_int_equal(write_step(writing, &error), STATUS_OK);
        assert_current(writing, writing->step);
        step_path(writing, writing->step - 1, ".partial", path);
        assert_false(file_exists(path)); /* what was left over has gone with the next one */
    }
    print_message("%u calls failed the checkpoint, %u did not\n", failed, done);
    assert_true(failed > 40);
}

static void a_cut_without_memory_for_its_rows_says_so(void **state)
{
    struct writing *writing = *state;
    struct error error = {0};
    struct checkpoint_cut *cut = NULL;
    train(writing, 100);
    assert_int_equal(write_step(writing, &error), STATUS_OK);
    train(writing, 100);
    const struct cut_options options = {.step = writing->step + 1, .base = writing->last};
    memory_fails = true;
    enum status status = checkpoint_cut_begin(&cut, writing->shard.shard, &options, &error);
    memory_fails = false;
    assert_int_equal(status, STATUS_NOMEM);
    assert_null(cut);
    status = checkpoint_cut_begin(&cut, writing->shard.shard, &options, &error);
    assert_int_equal(status, STATUS_OK);
    memory_fails = true;
    while (!checkpoint_cut_step(cut)) {
    }
    memory_fails = false;
    assert_true(checkpoint_cut_failed(cut));
    assert_null(checkpoint_cut_take(cut));
    checkpoint_cut_destroy(cut);
    writing->last = (struct checkpoint_base){0};
    assert_int_equal(write_step(writing, &error), STATUS_OK);
    assert_current(writing, writing->step);
}

/* ---- with the writer's thread ---- */

static void follow(struct shard_checkpoint *checkpoint, uint64_t step, uint64_t base)
{
    uint64_t end_ns = clock_now_ns() + AWAIT_NS;
    shard_checkpoint_order(checkpoint, step, base);
    while (!shard_checkpoint_report(checkpoint)->ended) {
        assert_true(clock_now_ns() < end_ns);
        (void)shard_checkpoint_turn(checkpoint, true);
        sched_yield();
    }
    assert_int_equal(shard_checkpoint_report(checkpoint)->step, step);
}

struct serving {
    struct shard_metrics metrics;
    struct checkpoint_writer *writer;
    struct shard_checkpoint *checkpoint;
};

static void serving_init(struct serving *serving, struct writing *writing)
{
    struct error error = {0};
    shard_metrics_init(&serving->metrics, 0);
    assert_int_equal(checkpoint_writer_start(&serving->writer, writing->dir, &error), STATUS_OK);
    const struct shard_checkpoint_options options = {
        .shard = writing->shard.shard,
        .writer = serving->writer,
        .metrics = &serving->metrics,
        .now_ns = clock_now_ns,
    };
    serving->checkpoint = shard_checkpoint_create(&options);
}

static void serving_deinit(struct serving *serving)
{
    shard_checkpoint_destroy(serving->checkpoint);
    checkpoint_writer_stop(serving->writer);
}

static void publish(struct writing *writing, const struct shard_checkpoint_report *report)
{
    struct error error = {0};
    const struct checkpoint_part part = {
        .bytes = report->result.bytes, .checksum = report->result.checksum, .base = report->base};
    if (checkpoint_publish(writing->dir, report->step, &part, 1, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
}

static void a_part_builds_on_the_one_before_unless_all_rows_are_wanted(void **state)
{
    struct writing *writing = *state;
    struct serving serving;
    serving_init(&serving, writing);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(serving.checkpoint);
    for (uint64_t step = 1; step <= 6; step++) {
        train(writing, 50);
        uint64_t base = step == 4 ? 0 : step - 1;
        follow(serving.checkpoint, step, base);
        assert_int_equal(report->error.status, STATUS_OK);
        assert_int_equal(report->base, base);
        publish(writing, report);
        assert_current(writing, step);
    }
    assert_true(metric_value(serving.metrics.checkpoints_full) == 2);
    assert_true(metric_value(serving.metrics.checkpoints_incremental) == 4);
    serving_deinit(&serving);
}

static void nothing_builds_on_what_was_not_published(void **state)
{
    struct writing *writing = *state;
    struct serving serving;
    serving_init(&serving, writing);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(serving.checkpoint);
    train(writing, 50);
    follow(serving.checkpoint, 1, 0);
    publish(writing, report);
    train(writing, 50);
    follow(serving.checkpoint, 2, 1);
    assert_int_equal(report->base, 1); /* and another server's part fails */
    train(writing, 50);
    follow(serving.checkpoint, 3, 1);
    assert_int_equal(report->base, 0);
    publish(writing, report);
    assert_current(writing, 3);
    serving_deinit(&serving);
}

static void a_failed_part_is_told_counted_and_followed_by_a_whole_one(void **state)
{
    struct writing *writing = *state;
    struct serving serving;
    char path[FILE_PATH_BYTES];
    serving_init(&serving, writing);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(serving.checkpoint);
    double before = metric_value(serving.metrics.checkpoint_failures);
    train(writing, 50);
    follow(serving.checkpoint, 1, 0);
    publish(writing, report);
    /* A file where the folder would be. */
    step_path(writing, 2, ".partial", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    follow(serving.checkpoint, 2, 1);
    assert_int_equal(report->error.status, STATUS_IO);
    assert_non_null(strstr(report->error.text, path));
    assert_true(metric_value(serving.metrics.checkpoint_failures) == before + 1);
    train(writing, 50);
    follow(serving.checkpoint, 3, 1);
    assert_int_equal(report->error.status, STATUS_OK);
    assert_int_equal(report->base, 0);
    publish(writing, report);
    assert_current(writing, 3);
    serving_deinit(&serving);
}

static void an_order_for_another_step_gives_up_the_one_under_way(void **state)
{
    struct writing *writing = *state;
    struct serving serving;
    char path[FILE_PATH_BYTES];
    serving_init(&serving, writing);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(serving.checkpoint);
    train(writing, 2000);
    shard_checkpoint_order(serving.checkpoint, 1, 0);
    shard_checkpoint_order(serving.checkpoint, 1, 0);
    assert_false(report->ended);
    shard_checkpoint_order(serving.checkpoint, 0, 0);
    uint64_t end_ns = clock_now_ns() + AWAIT_NS;
    while (!report->ended) {
        assert_true(clock_now_ns() < end_ns);
        (void)shard_checkpoint_turn(serving.checkpoint, false);
        sched_yield();
    }
    step_path(writing, 1, ".partial", path);
    assert_false(file_exists(path));
    follow(serving.checkpoint, 2, 0);
    publish(writing, report);
    assert_current(writing, 2);
    serving_deinit(&serving);
}

static void an_older_order_that_comes_late_changes_nothing(void **state)
{
    struct writing *writing = *state;
    struct serving serving;
    serving_init(&serving, writing);
    const struct shard_checkpoint_report *report = shard_checkpoint_report(serving.checkpoint);
    train(writing, 50);
    follow(serving.checkpoint, 1, 0);
    publish(writing, report);
    train(writing, 2000);
    shard_checkpoint_order(serving.checkpoint, 2, 1);
    shard_checkpoint_order(serving.checkpoint, 1, 0);
    follow(serving.checkpoint, 2, 1);
    assert_int_equal(report->base, 1);
    publish(writing, report);
    shard_checkpoint_order(serving.checkpoint, 1, 0);
    assert_true(report->ended);
    assert_int_equal(report->step, 2);
    assert_current(writing, 2);
    serving_deinit(&serving);
}

static void a_shard_that_ends_leaves_nothing_unfinished(void **state)
{
    struct writing *writing = *state;
    struct serving serving;
    char path[FILE_PATH_BYTES];
    serving_init(&serving, writing);
    train(writing, 2000);
    shard_checkpoint_order(serving.checkpoint, 1, 0);
    (void)shard_checkpoint_turn(serving.checkpoint, true);
    serving_deinit(&serving);
    step_path(writing, 1, ".partial", path);
    assert_false(file_exists(path));
    assert_int_equal(checkpoint_latest(writing->dir), 0);
    train(writing, 10); /* the table goes on */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_checkpoint_with_a_failing_call_is_given_up_and_the_last_one_stays),
        TEST(a_cut_without_memory_for_its_rows_says_so),
        TEST(a_part_builds_on_the_one_before_unless_all_rows_are_wanted),
        TEST(nothing_builds_on_what_was_not_published),
        TEST(a_failed_part_is_told_counted_and_followed_by_a_whole_one),
        TEST(an_order_for_another_step_gives_up_the_one_under_way),
        TEST(an_older_order_that_comes_late_changes_nothing),
        TEST(a_shard_that_ends_leaves_nothing_unfinished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
