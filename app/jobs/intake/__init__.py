"""Static checks of uploaded files: what is in them, found without TensorFlow and without Keras.

Nothing here deserialises an object, and no file is trusted to be what it says: every size is
bounded before it is read. The check runs in a process of its own (``run``), which takes well
under a second for a model of 12 MB.

==================== ============================================================================
``code``             the file is refused because
==================== ============================================================================
empty_file           it has no bytes
not_a_model          it is neither a ``.keras`` archive nor a Keras HDF5 file
not_a_dataset        it is of no kind of dataset that is known
truncated            it ends before its content does
damaged              its checksums, its directory or its structures contradict one another
unsafe_archive       the zip has duplicate, hidden, encrypted, linked or misnamed members
unsafe_storage       the HDF5 file links elsewhere, or stores in a way that Keras never does
too_large            it declares far more than it stores, or more than any real model has
saved_model          it is a TensorFlow SavedModel
tflite               it is a LiteRT (TensorFlow Lite) model
weights_only         it holds weights without an architecture
bad_config           the architecture is no readable Keras configuration
lambda_layer         a layer, or a function in it, is Python code
unknown_class        a class or a function in it is not one of Keras' own modelling classes
no_weights           none of its layers has weights
quantized_model      its weights are quantised already: they cannot be fine-tuned
keras2_only          it cannot be said in Keras 3
layer_name           two layers share a name, or a name is one that training cannot use
too_many_layers      it has more layers than any published network
size_out_of_range    a size in the architecture lies beyond its ceiling
weights_mismatch     the stored weights are not those that the architecture declares
not_finite           a weight or a sample is NaN or infinite
object_array         an array of the dataset holds Python objects
unsupported_dtype    an array of the dataset holds no numbers
missing_array        ``y`` comes without ``x``, or one of several inputs or parts is absent
ambiguous_arrays     an array is given in two ways, ``x`` and ``x_train`` for example
length_mismatch      ``x`` and ``y`` have different numbers of samples
shape_mismatch       the samples of one part are shaped unlike those of another
no_samples           there is no training sample
bad_row              a row of a table has other fields than the first, or one that is no number
bad_record           a record is no ``tf.train.Example``, or has other features than those before
bad_image            a file of a folder of images is none
image_too_large      it has more pixels than any model looks at
bad_text             a file of a folder of texts is no plain text
no_class_folders     a zip of images or texts has no folder for each class
check_timed_out      the check did not end in time
check_crashed        the check itself fell over the file
==================== ============================================================================
"""
