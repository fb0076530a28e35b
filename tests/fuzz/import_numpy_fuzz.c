/* NumPy arrays. Input: a line of options, then edge index, features, labels and splits with cuts
 * between them; "npz": the first part is an archive that has them all; "rows": the second one is
 * svmlight rows. */
#include "common/npy.h"
#include "tests/fuzz/import_target.h"

/* Nodes that are in no array but count: 2^32 of them are no bug, and take 16 GiB. */
#define NODES_MAX (1 << 16)

static bool too_many_nodes(const char *path, const char *member)
{
    struct npy array = {.data = NULL};
    bool many = false;
    if (path == NULL || npy_open_foreign(&array, path, member, NULL) != STATUS_OK) return false;
    for (uint64_t i = 0; i < array.count; i++)
        many = many || npy_i64(&array, i) > NODES_MAX;
    npy_close(&array);
    return many;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct fuzz_input options = import_line(&input);
    struct import_job job = import_begin(options);
    if (import_word(options, "npz")) {
        const char *archive = import_file(&input, "a.npz");
        if (archive == NULL || too_many_nodes(archive, "e")) return 0;
        job.edge_index = fuzz_path("a.npz:e");
        if (import_word(options, "features")) job.features = fuzz_path("a.npz:f");
        if (import_word(options, "labels")) job.labels = fuzz_path("a.npz:l");
    } else {
        job.edge_index = import_file(&input, "e.npy");
        const char *nodes = import_file(&input, "f.npy");
        if (import_word(options, "rows"))
            job.nodes = nodes;
        else
            job.features = nodes;
        job.labels = import_file(&input, "l.npy");
        job.splits = import_file(&input, "s.npy");
        if (too_many_nodes(job.edge_index, NULL)) return 0;
    }
    import_end(import_numpy, &job);
    return 0;
}
