/* Edge lists and node tables. Input: a line of options, which may name columns after "columns=",
 * then the edges and, behind a cut, the nodes. */
#include <string.h>

#include "tests/fuzz/import_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct fuzz_input options = import_line(&input);
    struct import_job job = import_begin(options);
    char columns[128] = "";
    const uint8_t *named =
        options.bytes == 0 ? NULL : memmem(options.data, options.bytes, "columns=", 8);
    if (named != NULL) {
        size_t length = options.bytes - (size_t)(named + 8 - options.data);
        if (length >= sizeof columns) length = sizeof columns - 1;
        memcpy(columns, named + 8, length);
        columns[strcspn(columns, " ")] = '\0';
        job.columns = columns;
    }
    job.edges = import_file(&input, "edges");
    job.nodes = import_file(&input, "nodes");
    import_end(import_edges, &job);
    return 0;
}
