"""TensorFlow's own summaries, within a graph and beside it, and Keras's callback for TensorBoard."""

import keras
import numpy
import tensorflow
import wandb


@tensorflow.function
def within_a_graph(step):
    tensorflow.summary.scalar("graph", 2 * step, step=step)


run = wandb.init(project="tensorflow", sync_tensorboard=True)
writer = tensorflow.summary.create_file_writer("logs")
with writer.as_default():
    for step in range(15):
        tensorflow.summary.scalar("loss", 1 / (step + 1), step=step)
        within_a_graph(tensorflow.constant(step, tensorflow.int64))
        tensorflow.summary.histogram("weights", [1.0, 2.0], step=step)
run.finish()
writer.close()

run = wandb.init(project="tensorflow-keras", sync_tensorboard=True)
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
zeros = numpy.zeros((8, 3)), numpy.zeros((8, 1))
model.fit(
    *zeros, epochs=2, validation_data=zeros, verbose=0, callbacks=[keras.callbacks.TensorBoard("logs/keras")]
)
run.finish()
