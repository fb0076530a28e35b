/* What the targets of the importers share: an import into the folder, and a look at its graph. */
#ifndef ANTHILL_TESTS_FUZZ_IMPORT_TARGET_H
#define ANTHILL_TESTS_FUZZ_IMPORT_TARGET_H

#include <stdio.h>

#include "common/check.h"
#include "graph/graph_check.h"
#include "graph/importers/import_job.h"
#include "tests/fuzz/fuzz.h"

/* Options of an import from a line of words that the target's inputs begin with, so that they can
 * be read and written by hand. */
static inline bool import_word(struct fuzz_input line, const char *word)
{
    return memmem(line.data, line.bytes, word, strlen(word)) != NULL;
}

static inline struct fuzz_input import_line(struct fuzz_input *input)
{
    const uint8_t *end = input->bytes == 0 ? NULL : memchr(input->data, '\n', input->bytes);
    if (end == NULL) return fuzz_take(input, input->bytes);
    struct fuzz_input line = fuzz_take(input, (size_t)(end - input->data));
    (void)fuzz_take(input, 1);
    return line;
}

static inline struct import_job import_begin(struct fuzz_input options)
{
    (void)fuzz_folder();
    struct import_job job = {.quiet = true,
                             .seed = 1,
                             .header = import_word(options, "header"),
                             .skip_bad = import_word(options, "skip") ? 1000 : 0,
                             .graph = {.partitions = import_word(options, "parts") ? 3 : 1,
                                       .by_range = import_word(options, "range"),
                                       .drop_self_loops = import_word(options, "loops"),
                                       .memory_bytes = 512,
                                       .arguments = "fuzz"}};
    if (import_word(options, "symmetric")) job.graph.reverse = REVERSE_SYMMETRIC;
    if (import_word(options, "inverse")) job.graph.reverse = REVERSE_INVERSE;
    job.reverse_chosen = job.graph.reverse != REVERSE_NONE;
    if (import_word(options, "dedupe")) job.dedupe = IMPORT_YES;
    if (import_word(options, "normalize")) job.normalize = IMPORT_YES;
    if (import_word(options, "name")) job.ids = IMPORT_IDS_NAME;
    if (import_word(options, "number")) job.ids = IMPORT_IDS_NUMBER;
    job.graph.out = fuzz_path("g");
    return job;
}

/* The file `name` of the next part of the input; NULL where nothing is left. */
static inline const char *import_file(struct fuzz_input *input, const char *name)
{
    if (input->bytes == 0) return NULL;
    fuzz_write(name, fuzz_part(input));
    return fuzz_path(name);
}

/* A graph that is good, or a text and nothing left. */
static inline void import_end(import_function *import, struct import_job *job)
{
    struct error error = {.text = ""};
    struct graph_summary summary = {.node_count = 0};
    enum status status = import(job, &summary, &error);
    CHECK(!file_exists(fuzz_path("g.partial")));
    CHECK((status == STATUS_OK) == file_exists(fuzz_path("g")));
    CHECK(status == STATUS_OK || error.text[0] != '\0');
    if (status != STATUS_OK) return;
    status = graph_check(fuzz_path("g"), &error);
    if (status == STATUS_OK) return;
    fprintf(stderr, "a graph that is not good: %s\n", error.text);
    CHECK(status == STATUS_OK);
}

#endif
