package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// descriptor is how an OCI image names a part of it.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *imagePlatform    `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type imagePlatform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// container is a container image in the making: what it is for each platform.
type container struct {
	blobs     map[string][]byte // by their digests in hexadecimal
	manifests []descriptor
}

func (i *container) add(mediaType string, data []byte) descriptor {
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	i.blobs[name] = data
	return descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: len(data)}
}

const oci = "application/vnd.oci.image."

// addPlatform puts a perch for linux on arch into the image: nothing else is in
// there but the authorities to trust servers by, and a user who is not root.
func (i *container) addPlatform(arch, program, authorities string, date time.Time) error {
	binary, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	trusted, err := os.ReadFile(authorities)
	if err != nil {
		return fmt.Errorf("the image needs certificate authorities (Debian: apt-get install ca-certificates): %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(trusted) {
		return errors.New(authorities + " has no certificates")
	}
	const user = 65532
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, f := range []struct {
		name string
		mode int64
		uid  int
		data []byte
	}{
		{"data/", 0o700, user, nil},
		{"etc/", 0o755, 0, nil},
		{"etc/group", 0o644, 0, []byte("perch:x:65532:\n")},
		{"etc/passwd", 0o644, 0, []byte("perch:x:65532:65532::/data:/sbin/nologin\n")},
		{"etc/ssl/", 0o755, 0, nil},
		{"etc/ssl/certs/", 0o755, 0, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, 0, trusted},
		{"tmp/", 0o1777, 0, nil},
		{"usr/", 0o755, 0, nil},
		{"usr/bin/", 0o755, 0, nil},
		{"usr/bin/perch", 0o755, 0, binary},
	} {
		h := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.uid, Gid: f.uid, Size: int64(len(f.data)), ModTime: date, Typeflag: tar.TypeReg}
		if f.data == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	plain := sha256.Sum256(layer.Bytes())
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(layer.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	top := i.add(oci+"layer.v1.tar+gzip", packed.Bytes())
	settings, err := json.Marshal(map[string]any{
		"created": date.Format(time.RFC3339), "architecture": arch, "os": "linux",
		"config": map[string]any{
			"User": "65532:65532", "WorkingDir": "/data", "Entrypoint": []string{"/usr/bin/perch"}, "Cmd": []string{"run"},
			"Env": []string{"PATH=/usr/bin", "PERCH_HOME=/data"}, "Volumes": map[string]any{"/data": struct{}{}},
			"ExposedPorts": map[string]any{"8460/tcp": struct{}{}}, "StopSignal": "SIGTERM",
			"Labels": map[string]string{"org.opencontainers.image.title": "Perch", "org.opencontainers.image.licenses": "Apache-2.0"},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(plain[:])}},
		"history": []map[string]any{{"created": date.Format(time.RFC3339), "created_by": "make release"}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": i.add(oci+"config.v1+json", settings), "layers": []descriptor{top},
	})
	if err != nil {
		return err
	}
	d := i.add(oci+"manifest.v1+json", manifest)
	d.Platform = &imagePlatform{arch, "linux"}
	i.manifests = append(i.manifests, d)
	return nil
}

// save writes the image as an archive in OCI's layout, which docker load,
// podman load and skopeo read.
func (i *container) save(file, version string, date time.Time) (err error) {
	all, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": i.manifests})
	if err != nil {
		return err
	}
	both := i.add(oci+"index.v1+json", all)
	both.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": version,
		"io.containerd.image.name":          "localhost/perch:" + version,
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": []descriptor{both}})
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	put := func(name string, data []byte) {
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: date})
		}
		if err == nil {
			_, err = w.Write(data)
		}
	}
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	put("index.json", index)
	for _, name := range slices.Sorted(maps.Keys(i.blobs)) {
		put("blobs/sha256/"+name, i.blobs[name])
	}
	return errors.Join(err, w.Close())
}

// image makes the image of the programs that were built for linux.
func (r *release) image() error {
	i := &container{blobs: map[string][]byte{}}
	for _, arch := range []string{"amd64", "arm64"} {
		program := filepath.Join(r.work, "linux-"+arch, "perch")
		if _, err := os.Stat(program); err != nil {
			continue // it was not asked for
		}
		if err := i.addPlatform(arch, program, "/etc/ssl/certs/ca-certificates.crt", r.date); err != nil {
			return err
		}
	}
	if len(i.manifests) == 0 {
		return nil
	}
	return i.save(filepath.Join(r.dist, "perch-headless-"+r.version+"-oci.tar"), r.version, r.date)
}
