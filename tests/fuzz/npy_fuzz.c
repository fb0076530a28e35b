/* NumPy files and archives: what is opened can be read from end to end. Input: a byte that says
 * how it is opened, then the file. */
#include "common/npy.h"
#include "tests/fuzz/fuzz.h"

/* Reads every item, and one more byte of sums than the compiler can leave out. */
static void read_all(struct npy *array)
{
    volatile double sum = 0;
    for (uint64_t i = 0; i < array->count; i++)
        sum = sum + npy_f64(array, i) + (double)npy_i64(array, i);
    npy_close(array);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct npy array = {.data = NULL};
    struct error error;
    uint64_t checksum;
    uint8_t how = fuzz_byte(&input) % 4;
    (void)fuzz_folder();
    fuzz_write("a", input);
    const char *path = fuzz_path("a");
    enum status status = how == 0   ? npy_open(&array, path, &error)
                         : how == 1 ? npy_open_foreign(&array, path, NULL, &error)
                         : how == 2 ? npy_open_npz(&array, path, "x", &error)
                                    : npy_open_foreign(&array, path, "y.npy", &error);
    if (status == STATUS_OK) read_all(&array);
    npy_close(&array);
    (void)!npy_checksum_file(path, &checksum, &error);
    return 0;
}
