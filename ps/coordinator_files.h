/* The coordinator's files in the run's folder: its state, endpoint, metrics.jsonl, result.json and
 * the checkpoints that it makes complete.
 *
 *     run.yaml  coordinator.lock  coordinator.endpoint  coordinator.stats  coordinator.state
 *     metrics.jsonl  result.json  checkpoints/step-N/
 *
 * coordinator.state is there while a run is under way; result.json without it means that the run is
 * over. thread: the process's main loop. */
#ifndef ANTHILL_PS_COORDINATOR_FILES_H
#define ANTHILL_PS_COORDINATOR_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/error.h"
#include "ps/checkpoint.h"

struct coordinator_files;

/* Creates run.dir or takes the one that is there, locks it against a second coordinator, and writes
 * run.yaml. With `overwrite` what an older run left there is removed.
 *   errors   STATUS_CONFIG when it holds a finished run, or checkpoints without the state of their
 *            run; STATUS_BUSY when another coordinator works there; STATUS_IO
 *   owner    coordinator_files_close */
enum status coordinator_files_open(struct coordinator_files **files, const struct config *config,
                                   bool overwrite, struct error *error) MUST_CHECK;
void coordinator_files_close(struct coordinator_files *files);

/* "DIR/NAME" with the folder's absolute path. Valid until the next call. */
const char *coordinator_files_path(struct coordinator_files *files, const char *name);

/* The state that an earlier process left; *data is NULL when there is none.
 *   owner    *data is returned owned; free()
 *   errors   STATUS_IO */
enum status coordinator_files_load(struct coordinator_files *files, uint8_t **data, size_t *bytes,
                                   struct error *error) MUST_CHECK;
enum status coordinator_files_save(struct coordinator_files *files, const uint8_t *data,
                                   size_t bytes, struct error *error) MUST_CHECK;

/* One line of text and its newline in a small file (endpoint, stats address). */
enum status coordinator_files_note(struct coordinator_files *files, const char *name,
                                   const char *text, struct error *error) MUST_CHECK;

/* Appends a line to metrics.jsonl. With `again` only when the file does not have it: it was
 * decided before a restart, and may have been written. */
enum status coordinator_files_line(struct coordinator_files *files, const char *line, bool again,
                                   struct error *error) MUST_CHECK;

enum status coordinator_files_result(struct coordinator_files *files, const char *json,
                                     struct error *error) MUST_CHECK;

/* Makes a checkpoint complete (one that is complete already is no error), then removes those that
 * are not kept. */
enum status coordinator_files_publish(struct coordinator_files *files, uint64_t step,
                                      const struct checkpoint_part *parts, uint32_t part_count,
                                      uint64_t best, struct error *error) MUST_CHECK;
void coordinator_files_abandon(struct coordinator_files *files, uint64_t step);

/* The run is over: what only a run under way needs is removed. */
void coordinator_files_finish(struct coordinator_files *files);

#endif
