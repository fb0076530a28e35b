/* svmlight rows. Input: a line of options, then nodes, edges and splits with cuts between them. */
#include "tests/fuzz/import_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct import_job job = import_begin(import_line(&input));
    job.nodes = import_file(&input, "nodes");
    job.edges = import_file(&input, "edges");
    job.split = import_file(&input, "split");
    import_end(import_svmlight, &job);
    return 0;
}
