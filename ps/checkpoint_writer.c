#include "ps/checkpoint_writer.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/check.h"
#include "common/log.h"
#include "common/queue.h"

#define BLOCKS_MAX 8 /* that wait to be written, of all shards together */
#define NICENESS   10

struct checkpoint_writer {
    const char *dir;
    struct queue *blocks;
    bool threaded; /* else checkpoint_writer_turn does the work */
    pthread_t thread;
};

struct checkpoint_job {
    struct checkpoint_writer *writer;
    const struct checkpoint_plan *plan;
    struct cut_block end; /* comes after the last block */
    atomic_bool cancelled, failed;
    atomic_uint_fast64_t bytes;
    sem_t ended;
    /* The shard's thread. */
    bool finished, over;
    /* The writer's thread; the shard's after `ended`. */
    struct part_writer *part;
    struct part_result result;
    struct error error;
};

/* ---- the thread ---- */

static enum status open_part(struct checkpoint_job *job)
{
    if (job->part != NULL) return STATUS_OK;
    return part_writer_open(&job->part, job->plan, job->writer->dir, &job->error);
}

static void write_block(struct checkpoint_job *job, const struct cut_block *block)
{
    if (atomic_load(&job->cancelled) || atomic_load(&job->failed)) return;
    enum status status = open_part(job);
    if (status == STATUS_OK) status = part_writer_put(job->part, block, &job->error);
    if (status != STATUS_OK) {
        /* At once: the disk may be full. */
        part_writer_abandon(job->part);
        job->part = NULL;
        atomic_store(&job->failed, true);
        return;
    }
    atomic_store(&job->bytes, part_writer_bytes(job->part));
}

static void end_job(struct checkpoint_job *job)
{
    if (atomic_load(&job->failed)) {
        /* `error` says why. */
    } else if (atomic_load(&job->cancelled)) {
        part_writer_abandon(job->part);
        error_set(&job->error, STATUS_STOPPED, "checkpoint %llu is not wanted any more",
                  (unsigned long long)job->plan->step);
    } else {
        job->error.status = open_part(job);
        if (job->error.status == STATUS_OK) {
            job->error.status = part_writer_close(job->part, &job->result, &job->error);
        }
    }
    job->part = NULL;
    CHECK(sem_post(&job->ended) == 0);
}

static bool write_next(struct checkpoint_writer *writer, uint64_t timeout_ns)
{
    struct cut_block *block = queue_pop(writer->blocks, timeout_ns);
    if (block == NULL) return false;
    if (block == &block->job->end) {
        end_job(block->job);
    } else {
        write_block(block->job, block);
        cut_block_destroy(block);
    }
    return true;
}

static void *writer_main(void *context)
{
    struct checkpoint_writer *writer = context;
    /* Linux gives each thread a niceness and a policy of its own. A batch thread that wakes up does
     * not take the processor from the shard that woke it. */
    const struct sched_param none = {0};
    if (setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS) != 0 ||
        pthread_setschedparam(pthread_self(), SCHED_BATCH, &none) != 0) {
        log_event(LOG_WARN, "checkpoint_priority", "cannot lower the writer's priority");
    }
    while (write_next(writer, QUEUE_FOREVER)) {
    }
    return NULL;
}

struct checkpoint_writer *checkpoint_writer_create(const char *dir)
{
    struct checkpoint_writer *writer = calloc(1, sizeof *writer);
    CHECK(writer != NULL);
    writer->dir = dir;
    writer->blocks = queue_create(BLOCKS_MAX);
    return writer;
}

bool checkpoint_writer_turn(struct checkpoint_writer *writer)
{
    CHECK(!writer->threaded);
    return write_next(writer, 0);
}

enum status checkpoint_writer_start(struct checkpoint_writer **result, const char *dir,
                                    struct error *error)
{
    struct checkpoint_writer *writer = checkpoint_writer_create(dir);
    int failed = pthread_create(&writer->thread, NULL, writer_main, writer);
    if (failed != 0) {
        checkpoint_writer_stop(writer);
        return error_set_errno(error, STATUS_NOMEM, failed, "thread that writes checkpoints");
    }
    writer->threaded = true;
    *result = writer;
    return STATUS_OK;
}

void checkpoint_writer_stop(struct checkpoint_writer *writer)
{
    if (writer == NULL) return;
    queue_close(writer->blocks);
    if (writer->threaded) pthread_join(writer->thread, NULL);
    queue_destroy(writer->blocks);
    free(writer);
}

/* ---- the shard's thread ---- */

struct checkpoint_job *checkpoint_job_create(struct checkpoint_writer *writer,
                                             const struct checkpoint_plan *plan)
{
    struct checkpoint_job *job = calloc(1, sizeof *job);
    if (job == NULL) return NULL;
    job->writer = writer;
    job->plan = plan;
    job->end.job = job;
    CHECK(sem_init(&job->ended, 0, 0) == 0);
    return job;
}

void checkpoint_job_destroy(struct checkpoint_job *job)
{
    if (job == NULL) return;
    CHECK(job->over);
    sem_destroy(&job->ended);
    free(job);
}

bool checkpoint_job_give(struct checkpoint_job *job, struct cut_block *block)
{
    block->job = job;
    return queue_push(job->writer->blocks, block, 0);
}

bool checkpoint_job_finish(struct checkpoint_job *job)
{
    if (!job->finished) job->finished = queue_push(job->writer->blocks, &job->end, 0);
    return job->finished;
}

void checkpoint_job_cancel(struct checkpoint_job *job)
{
    atomic_store(&job->cancelled, true);
}

void checkpoint_job_wait(struct checkpoint_job *job)
{
    if (job->over) return;
    if (!job->writer->threaded) {
        while (!checkpoint_job_finish(job))
            CHECK(checkpoint_writer_turn(job->writer));
        while (checkpoint_writer_turn(job->writer)) {
        }
    }
    if (!job->finished) job->finished = queue_push(job->writer->blocks, &job->end, QUEUE_FOREVER);
    CHECK(job->finished);
    while (sem_wait(&job->ended) != 0) {
    } /* interrupted by a signal */
    job->over = true;
}

bool checkpoint_job_failed(const struct checkpoint_job *job)
{
    return atomic_load(&job->failed);
}

uint64_t checkpoint_job_bytes(const struct checkpoint_job *job)
{
    return atomic_load(&job->bytes);
}

bool checkpoint_job_ended(struct checkpoint_job *job, struct part_result *result,
                          struct error *error)
{
    if (!job->over && job->finished) job->over = sem_trywait(&job->ended) == 0;
    if (!job->over) return false;
    *result = job->result;
    *error = job->error;
    return true;
}
