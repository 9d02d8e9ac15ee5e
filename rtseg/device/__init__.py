"""The frame's path on a GPU: it goes up once, and only what the sinks asked for comes down.

| module | job |
| --- | --- |
| network.py | the seam: a network whose input and output stay on the device |
| track.py | a frame geometry's buffers and launches, the whole frame recorded as one CUDA graph |
| segmenter.py | the calls of the pipeline's loop on tracks: `rtseg.segmenter.Segmenter`'s twin |
| render.py | what is left to draw on the host: the text |
"""
