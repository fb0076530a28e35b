/* Scores of classifications. Pure. */
#ifndef ANTHILL_WORKER_SCORE_H
#define ANTHILL_WORKER_SCORE_H

#include <stdint.h>

struct score {
    uint64_t count;  /* nodes with a label */
    double accuracy; /* share of right predictions; with one label per node also micro-F1 */
    double macro_f1; /* mean over classes that occur in labels or predictions (scikit-learn) */
    double loss;     /* mean cross-entropy, natural logarithm */
};

/* logits[count, class_count], labels[count] (-1: not counted). */
void score_classification(const float *logits, const int32_t *labels, uint64_t count,
                          uint32_t class_count, struct score *score);

/* As above over the rows `nodes[count]` of a matrix logits[*, class_count]; labels[count]. */
void score_classification_of(const float *logits, const uint64_t *nodes, const int32_t *labels,
                             uint64_t count, uint32_t class_count, struct score *score);

#endif
