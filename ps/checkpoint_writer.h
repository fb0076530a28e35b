/* The thread of a server process that writes the parts of its shards' checkpoints, at a low
 * priority, from the blocks that the shards' threads give it. One for all shards: the disk is one,
 * too, and the processor is theirs. Under a simulator there is no thread: it says when the next
 * block is written. */
#ifndef ANTHILL_PS_CHECKPOINT_WRITER_H
#define ANTHILL_PS_CHECKPOINT_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "ps/checkpoint_cut.h"
#include "ps/checkpoint_part.h"

struct checkpoint_writer;

/*   dir      borrowed until checkpoint_writer_stop: the run's checkpoints
 *   errors   STATUS_NOMEM when there can be no thread
 *   owner    returns owned; checkpoint_writer_stop */
enum status checkpoint_writer_start(struct checkpoint_writer **writer, const char *dir,
                                    struct error *error) MUST_CHECK;
/* Waits for the thread. Every job has ended before. NULL does nothing. */
void checkpoint_writer_stop(struct checkpoint_writer *writer);

/* A writer without a thread: checkpoint_writer_turn writes what comes next; false: nothing waits.
 *   owner    returns owned; checkpoint_writer_stop. Ends the process when memory is used up */
struct checkpoint_writer *checkpoint_writer_create(const char *dir);
bool checkpoint_writer_turn(struct checkpoint_writer *writer);

/* One part on its way. The functions below are for the shard's thread. */
struct checkpoint_job;

/*   plan     borrowed until the job has ended
 *   errors   NULL when memory is used up
 *   owner    returns owned; checkpoint_job_destroy, after it has ended */
struct checkpoint_job *checkpoint_job_create(struct checkpoint_writer *writer,
                                             const struct checkpoint_plan *plan);
void checkpoint_job_destroy(struct checkpoint_job *job);

/* Takes the block on true; false: so much waits to be written that it has to wait here. */
bool checkpoint_job_give(struct checkpoint_job *job, struct cut_block *block);
/* All blocks were given. Once; false: to be called again later. */
bool checkpoint_job_finish(struct checkpoint_job *job);
/* The part is not wanted any more: what is given is dropped, and the job ends once it is finished.
 */
void checkpoint_job_cancel(struct checkpoint_job *job);
/* Finishes the job and waits until it has ended. */
void checkpoint_job_wait(struct checkpoint_job *job);

/* Writing has failed: no more rows are needed. */
bool checkpoint_job_failed(const struct checkpoint_job *job);
/* Bytes written so far. */
uint64_t checkpoint_job_bytes(const struct checkpoint_job *job);
/* True once the job has ended: the part is there, or `error` says why not. */
bool checkpoint_job_ended(struct checkpoint_job *job, struct part_result *result,
                          struct error *error);

#endif
