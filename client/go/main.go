// Uploads a folder, resolves an alias, downloads a file and watches: plain generated stubs, no SDK.
//
//	MODELYARD_URL=grpcs://models.example.org:7600 MODELYARD_API_KEY=my_… go run . FOLDER NAME FILE TARGET
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "modelyard/v1"
)

type uploading = grpc.ClientStreamingClient[pb.UploadModelArtifactRequest, pb.UploadModelArtifactResponse]

func main() {
	folder, name, file, target := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	connection := must(connect(os.Getenv("MODELYARD_URL"), os.Getenv("MODELYARD_API_KEY")))
	defer connection.Close()
	models, events := pb.NewModelArtifactServiceClient(connection), pb.NewEventServiceClient(connection)

	upload := must(models.UploadModelArtifact(ctx))
	header := &pb.VersionHeader{Name: name, Aliases: []string{"staging"}}
	send(upload, &pb.UploadModelArtifactRequest{Header: header, RequestId: rand.Text()})
	check(filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			source := must(os.Open(path))
			defer source.Close()
			inside := filepath.ToSlash(must(filepath.Rel(folder, path)))
			send(upload, &pb.UploadModelArtifactRequest{Path: inside})
			check(eachMebibyte(source, func(data []byte) { send(upload, &pb.UploadModelArtifactRequest{Data: data}) }))
		}
		return err
	}))
	made := must(upload.CloseAndRecv()).Version

	version := must(models.GetModelArtifactVersion(ctx, &pb.GetModelArtifactVersionRequest{
		Selector: &pb.GetModelArtifactVersionRequest_Ref{Ref: name + ":staging"},
	})).Version
	fmt.Printf("%s:v%d\n", version.Name, version.Number)

	out := must(os.Create(target))
	parts := must(models.DownloadFile(ctx, &pb.DownloadFileRequest{
		Selector: &pb.DownloadFileRequest_Id{Id: version.Id},
		Path:     file,
	}))
	for part, err := parts.Recv(); err != io.EOF; part, err = parts.Recv() {
		check(err)
		must(out.Write(part.Data))
	}
	check(out.Close())

	filter := fmt.Sprintf("type = \"version_created\" AND collection = %q", name)
	changes := must(events.WatchEvents(ctx, &pb.WatchEventsRequest{
		Project:       made.Project,
		AfterSequence: proto.Int64(0),
		Filter:        filter,
	}))
	for seen := false; !seen; {
		for _, event := range must(changes.Recv()).Events {
			fmt.Printf("event %d: %s:%s was made\n", event.Sequence, event.Collection, event.Version)
			seen = seen || event.VersionId == made.Id
		}
	}
}

// send gets io.EOF if the server has ended the call; CloseAndRecv then returns the error.
func send(upload uploading, message *pb.UploadModelArtifactRequest) {
	if err := upload.Send(message); err != io.EOF {
		check(err)
	}
}

func eachMebibyte(source io.Reader, use func([]byte)) error {
	for {
		data := make([]byte, 1<<20) // a new buffer each time: grpc may read it after Send returns
		size, err := source.Read(data)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		use(data[:size])
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}
