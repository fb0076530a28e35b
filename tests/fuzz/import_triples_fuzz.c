/* Triples. Input: a line of options, then the splits train, valid and test with cuts between them.
 */
#include "tests/fuzz/import_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct import_job job = import_begin(import_line(&input));
    job.train = import_file(&input, "train");
    job.valid = import_file(&input, "valid");
    job.test = import_file(&input, "test");
    import_end(import_triples, &job);
    return 0;
}
