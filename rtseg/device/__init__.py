"""The frame's path on a GPU: it goes up once, and only what the sinks asked for comes down.

| module | job |
| --- | --- |
| network.py | the seam: a network whose input and output stay on the device |
| track.py | a frame geometry's buffers and launches, the whole frame recorded as one CUDA graph |
| segmenter.py | the calls of the pipeline's loop on tracks: `rtseg.segmenter.Segmenter`'s twin |
| graph.py | events and CUDA graphs by the driver's own calls |
| arrays.py | arrays on the GPU, handed over to torch and others without a copy |
| render.py | what is left to draw on the host: the text |
"""
