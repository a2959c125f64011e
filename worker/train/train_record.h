/* What a run's record says of the machine it runs on: a resumed run has the same bits where these are the same. */
#ifndef CAJAL_TRAIN_RECORD_H
#define CAJAL_TRAIN_RECORD_H
#include "worker/train/train_model.h"

/* {"cajal","libraries","threads","cpu","instructions","dtype","parameters","bytes"}; bytes: of tensors and working memory. */
void train_record_put(Buf *out, const TrainModel *m, const char *libraries);
#endif
