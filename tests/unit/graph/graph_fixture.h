/* What the graph tests share: a temporary folder, small input files, imports through the library.
 */
#ifndef ANTHILL_TESTS_UNIT_GRAPH_GRAPH_FIXTURE_H
#define ANTHILL_TESTS_UNIT_GRAPH_GRAPH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "graph/graph_mapping.h"
#include "graph/importers/import_job.h"
#include "tests/support/process.h"

/* Of the running test: folder_begin and folder_end. */
static char folder[64];

static inline int folder_begin(void **state)
{
    (void)state;
    temporary_folder(folder);
    return 0;
}

static inline int folder_end(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

/* A path inside the folder; the same name gives the same pointer, valid until the end. */
static inline const char *in_folder(const char *name)
{
    static char paths[256][FILE_PATH_BYTES];
    char path[FILE_PATH_BYTES];
    unsigned i = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    while (i < 255 && paths[i][0] != '\0' && strcmp(paths[i], path) != 0)
        i++;
    assert_true(i < 255);
    return strcpy(paths[i], path);
}

static inline const char *write_text(const char *name, const char *text)
{
    const char *path = in_folder(name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), NULL), STATUS_OK);
    return path;
}

/* A job that writes the graph "g" of the folder, quietly, with hardly any memory for sorting. */
static inline struct import_job job_make(void)
{
    return (struct import_job){
        .quiet = true,
        .seed = 1,
        .graph = {
            .out = in_folder("g"), .partitions = 1, .memory_bytes = 512, .arguments = "test"}};
}

static inline void assert_status(enum status found, enum status expected, const struct error *error)
{
    if (found != expected)
        fail_msg("%s: %s; expected %s", status_name(found), error->text, status_name(expected));
}

static inline struct graph_summary import_good(import_function *import, struct import_job *job)
{
    struct error error = {.text = ""};
    struct graph_summary summary = {.node_count = 0};
    assert_status(import(job, &summary, &error), STATUS_OK, &error);
    return summary;
}

/* The import fails with `expected` and a text that has `part`, and leaves nothing behind. */
static inline void import_refused(import_function *import, struct import_job *job,
                                  enum status expected, const char *part)
{
    struct error error = {.text = ""};
    struct graph_summary summary;
    assert_status(import(job, &summary, &error), expected, &error);
    if (strstr(error.text, part) == NULL) fail_msg("\"%s\" has no \"%s\"", error.text, part);
    assert_false(file_exists(in_folder("g")));
    assert_false(file_exists(in_folder("g.partial")));
}

static inline struct graph *open_good(const char *name)
{
    struct error error = {.text = ""};
    struct graph *graph = NULL;
    assert_status(graph_open(&graph, in_folder(name), 0, &error), STATUS_OK, &error);
    return graph;
}

/* The global id of an external number; fails the test when there is none. */
static inline uint64_t node_called(const struct graph *graph, uint64_t external)
{
    for (uint64_t node = 0; node < graph_info(graph)->node_count; node++)
        if (graph_external_id(graph, node) == external) return node;
    fail_msg("no node %llu", (unsigned long long)external);
    return 0;
}

static inline uint64_t node_named(const struct graph *graph, const char *name)
{
    for (uint64_t node = 0; node < graph_info(graph)->node_count; node++) {
        uint32_t bytes;
        const char *found = graph_node_name(graph, node, &bytes);
        if (bytes == strlen(name) && memcmp(found, name, bytes) == 0) return node;
    }
    fail_msg("no node %s", name);
    return 0;
}

/* How many edges go from src to dst, of `type` or, when it is negative, of any. */
static inline unsigned edges_between(const struct graph *graph, uint64_t src, uint64_t dst,
                                     int type)
{
    unsigned count = 0;
    const struct graph_neighbors view = graph_neighbors(graph, dst);
    for (uint64_t i = 0; i < view.count; i++) {
        const int found = view.types != NULL ? view.types[i] : 0;
        if (graph_global(graph, view.partition, view.indices[i]) == src &&
            (type < 0 || type == found))
            count++;
    }
    return count;
}

#endif
